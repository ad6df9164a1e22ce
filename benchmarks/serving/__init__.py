"""The serving benchmark: `python -m benchmarks.serving`. The results are in docs/benchmarks.md."""
