"""From rows to a certified selection: parse thoughts, compute facts once, find duplicates and leaks, apply
thresholds.
"""
