"""How good a checkpoint is: decoding of held-out items, grading, baselines, intervals, comparisons."""
