"""Measurements: `python -m benchmarks` compares clients in one run."""
