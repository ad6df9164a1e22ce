"""Benchmarks of training, of serving against its peers, and of single parts."""
