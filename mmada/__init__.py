"""Data and training platform for MMaDA-like models: from raw corpora to traced, evaluated checkpoints."""

__version__ = "0.1.0"
