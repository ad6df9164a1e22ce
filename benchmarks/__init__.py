"""Measurements against others: training (`python -m benchmarks.training`), serving, and their reports."""
