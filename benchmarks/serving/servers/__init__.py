"""The measured servers, each in a folder with its pinned requirements."""
