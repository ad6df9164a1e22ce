"""The serving benchmark: `python -m benchmarks.serving`. docs/benchmarks.md has what it found."""
