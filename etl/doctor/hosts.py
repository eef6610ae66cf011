"""Which hosts are other machines, to which the way can be watched."""

from ipaddress import ip_address


def is_remote(host: str | None) -> bool:
    """Tell whether a host is another machine; a path is a socket of this one, as is none at all."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True
