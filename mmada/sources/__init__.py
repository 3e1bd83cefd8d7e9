"""Readers of raw corpora: one adapter per format, declared in params, never guessed from names."""
