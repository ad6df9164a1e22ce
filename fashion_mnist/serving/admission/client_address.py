"""The client's address: the peer of the connection, or what a trusted proxy says."""

import functools
import ipaddress
from collections.abc import Iterable
from typing import Final

Client = tuple[str, int]
"""Address and port."""

HEADER: Final = b"x-forwarded-for"
IPV6_PREFIX: Final = 64
"""A network of this size belongs to one customer, who has all of its addresses."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Proxies whose X-Forwarded-For is believed: addresses and networks, comma-separated, or `*`.

    Raises ValueError.
    """

    def __init__(self, text: str) -> None:
        names = [name.strip() for name in text.split(",") if name.strip()]
        self.all = "*" in names
        self.networks: list[Network] = [ipaddress.ip_network(name) for name in names if name != "*"]
        self.trusts = functools.lru_cache(1024)(self._trusts)

    def find_client(self, peer: Client | None, headers: Iterable[tuple[bytes, bytes]]) -> Client | None:
        """Return the client: the last address in X-Forwarded-For that is not a trusted proxy.

        Each proxy appends the peer that it saw; whatever stands before that, the client may have invented.
        headers: names in lower case.
        """
        if peer is None or not self.trusts(peer[0]):
            return peer
        chain = [part for name, value in headers if name == HEADER for part in value.split(b",")]
        for part in reversed(chain):
            address = part.strip().decode("latin-1")
            if _parse(address) is None:  # the proxy before wrote no address: trust nothing further
                return peer
            peer = (address, 0)
            if not self.trusts(address):
                break
        return peer

    def _trusts(self, name: str) -> bool:
        address = _parse(name)
        return address is not None and (self.all or any(address in network for network in self.networks))


@functools.lru_cache(4096)
def customer_of(address: str) -> bytes:
    """Return what identifies a client: its IPv4 address, or the /64 network of its IPv6 address."""
    parsed = _parse(address)
    if parsed is None or parsed.version == 4:
        return address.encode()
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False)).encode()


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
