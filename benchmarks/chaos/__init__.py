"""Faults done to the real service, and whether its promises hold: `python -m benchmarks.chaos`."""
