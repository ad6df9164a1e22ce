"""Which key may use which path. A path that is not listed needs the role `admin`, also one added later."""

from collections.abc import Mapping
from time import monotonic
from typing import Final

from fashion_mnist.errors import InputError
from fashion_mnist.serving.admission.key_file import Key, Role
from fashion_mnist.serving.admission.key_ring import KeyRing
from fashion_mnist.serving.protocol.responses import Header, Headers

CHALLENGE: Final = b"www-authenticate"
BEARER: Final[Header] = (CHALLENGE, b'Bearer realm="fashion_mnist"')
BASIC: Final[Header] = (CHALLENGE, b'Basic realm="fashion_mnist", charset="UTF-8"')


class Access:
    """Checks the key of a request. roles: path -> role that it needs at least, None if it is open."""

    def __init__(self, ring: KeyRing, roles: Mapping[str, Role | None]) -> None:
        self.ring = ring
        self.roles = roles

    def needed(self, path: str) -> Role | None:
        """Return the role that a path needs, None if it is open."""
        return self.roles.get(path, Role.ADMIN)

    def find_key(self, headers: Headers) -> Key | None:
        """Return the key of a request, None if it has no valid one. headers: names in lower case."""
        self.ring.refresh(monotonic())
        sent = [value for name, value in headers if name == b"authorization"]
        return self.ring.find(sent[0]) if len(sent) == 1 else None

    def refuse(self, headers: Headers) -> tuple[InputError, tuple[Header, ...]]:
        """Return error and challenges for a request without a valid key.

        A page's script, which sets X-Requested-With, does not get the challenge that opens a dialog.
        """
        names = {name for name, _ in headers}
        challenges = (BEARER,) if b"x-requested-with" in names else (BEARER, BASIC)
        if b"authorization" in names:
            return InputError("invalid_credentials", "this key is not valid; ask for a new one"), challenges
        return (
            InputError("missing_credentials", "a key is needed; send it as `Authorization: Bearer KEY`"),
            challenges,
        )


def check_role(key: Key, needed: Role, path: str) -> None:
    """Raise InputError, forbidden, if a key's role does not allow a path."""
    if key.role < needed:
        raise InputError(
            "forbidden",
            f"{path} needs the role {needed.name.lower()}, the key {key.name} has {key.role.name.lower()}",
        )
