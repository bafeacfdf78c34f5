"""The IP address that a request comes from.

uvicorn decides which proxies' `X-Forwarded-For` to believe (`FORWARDED_ALLOW_IPS`). What it leaves
in `REMOTE_ADDR` can still carry a port, be IPv4-mapped, or be whatever a proxy passed on.
"""

from ipaddress import IPv6Address, ip_address, ip_network

from django.http import HttpRequest

from core.errors import ApiError


def client_address(request: HttpRequest) -> str:
    """Return the client's IP address, an IPv4-mapped one as IPv4.

    Raises `ApiError` (400) where it cannot be parsed.
    """
    text = request.META.get("REMOTE_ADDR", "").strip()
    if text.startswith("["):
        text = text[1:].rpartition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        raise ApiError(
            "The client's address cannot be read: the proxy in front sent an invalid "
            "X-Forwarded-For."
        ) from None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address))  # drops the zone
    return str(address)


def client_network(request: HttpRequest) -> str:
    """Return the network that counts as one client: an IPv4 address, or a /64 of IPv6."""
    address = client_address(request)
    return str(ip_network(f"{address}/64", strict=False)) if ":" in address else address
