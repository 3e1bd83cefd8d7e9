"""The gate between curation and training: expectations of the data, checked by Great Expectations."""
