"""The exception of the serving benchmark."""


class BenchmarkError(Exception):
    """A server cannot be installed or started or answers wrongly, or a tool is missing."""
