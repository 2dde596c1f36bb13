"""Addresses at which the page of `fsbench demo` is served, and the names by which a browser asks for it."""

import ipaddress
import socket


def listening_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address at which a server at `host` listens, "" being all of them; OSError where it has none."""
    found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)[0][4][0]
    address = ipaddress.ip_address(found)
    return getattr(address, "ipv4_mapped", None) or address


def in_address(host: str) -> str:
    """Return `host` as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def host_names(host: str, port: int) -> frozenset[str]:
    """Return the values of Host, in lower case, with which a browser may ask for the page at `host`; empty for all
    addresses."""
    address = listening_address(host)
    if address.is_unspecified:
        return frozenset()
    names = {host, str(address)} | ({"localhost", "127.0.0.1", "::1"} if address.is_loopback else set())
    names = {in_address(name.lower()) for name in names}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))
