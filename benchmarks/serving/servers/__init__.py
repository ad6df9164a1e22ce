"""The servers that are measured, each in its own folder with the versions that it needs."""
