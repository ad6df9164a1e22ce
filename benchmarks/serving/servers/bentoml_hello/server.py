"""The smallest Bento there is: how long BentoML itself takes to start."""

import bentoml


@bentoml.service
class Hello:
    """Greets."""

    @bentoml.api
    def hello(self, name: str) -> str:
        """Greet by name."""
        return f"hello {name}"
