"""One static site about data, training, scores and lineage: plain files, no server, no external request."""
