"""WebDataset shards: written with reproducible bytes, read by index, in an order that is a pure function."""
