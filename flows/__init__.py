"""Prefect's view of the DVC graph: when and where stages run. What they do is in `mmada`."""
