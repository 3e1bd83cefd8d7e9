"""What an output is (manifest), how it came to be (provenance), and the questions one asks of both."""
