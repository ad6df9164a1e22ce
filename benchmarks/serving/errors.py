"""What can go wrong in a benchmark."""


class BenchmarkError(Exception):
    """A server that cannot be installed, started or trusted, or a tool that is missing."""
