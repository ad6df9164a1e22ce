"""A minimal Bento: measures how long BentoML itself takes to start."""

import bentoml


@bentoml.service
class Hello:
    """Greet by name, and do nothing else."""

    @bentoml.api
    def hello(self, name: str) -> str:
        """Greet by name."""
        return f"hello {name}"
