"""One training loop for all stages, and the objectives that it trains."""
