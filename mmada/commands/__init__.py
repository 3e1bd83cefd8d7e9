"""The command line, a module for what its commands are about."""
