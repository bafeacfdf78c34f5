"""The address that a request comes from.

Which proxies' `X-Forwarded-For` is believed is uvicorn's business (`FORWARDED_ALLOW_IPS`); what it
leaves in `REMOTE_ADDR` can still have a port, be mapped, or be anything that a proxy passed on.
"""

from ipaddress import IPv6Address, ip_address, ip_network

from django.http import HttpRequest

from core.errors import ApiError


def client_address(request: HttpRequest) -> str:
    """Return the client's IP address, an IPv4-mapped one as IPv4.

    Raises `ApiError` (400) where there is none that can be read.
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
            "The client's address cannot be read: the proxy in front sends a wrong X-Forwarded-For."
        ) from None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address))  # without its zone
    return str(address)


def client_network(request: HttpRequest) -> str:
    """Return what counts as one client: an IPv4 address, or an IPv6 network of 64 bits."""
    address = client_address(request)
    return str(ip_network(f"{address}/64", strict=False)) if ":" in address else address
