"""Check ``WORKER_KAFKA__BOOTSTRAP_SERVERS``, a list of brokers, and name what is wrong with each."""

import re
from ipaddress import IPv6Address

PORT_MAX = 65_535
"""librdkafka takes a greater port modulo 65536, and so connects to another port."""


def brokers(text: str) -> str:
    """Check a list of brokers, and remove the spaces around its parts.

    A part without a port is accepted: librdkafka then connects to port 9092. A scheme is refused:
    librdkafka ignores a broker whose scheme is not the security protocol, and then may have no broker.

    Raises:
        ValueError: The message completes "wants ..." and names every wrong part.
    """
    parts = [part.strip() for part in text.split(",")]
    if faults := [f"{part!r} {fault}" for part in parts if (fault := _fault(part))]:
        raise ValueError(f"host:port, several separated by commas: {'; '.join(faults)}")
    return ",".join(parts)


def _fault(part: str) -> str:
    """Complete the sentence that begins with the part; return an empty text if the part is right."""
    return next((fault for is_wrong, fault in _checks(part) if is_wrong), "")


def _checks(part: str) -> list[tuple[bool, str]]:
    """List the possible faults, each with whether the part has it; the first one found is reported."""
    scheme = re.match("[A-Za-z][A-Za-z0-9_+.-]*://", part)
    foreign = re.search("[/@?#]", part)
    address = re.fullmatch(r"\[(.*)\](?::(.*))?", part)
    host, port = (address[1], address[2]) if address else _host_and_port(part)
    is_port = port is None or (re.fullmatch("[0-9]{1,9}", port) is not None and 1 <= int(port) <= PORT_MAX)
    return [
        (not part, "is an empty part: remove the comma"),
        (
            scheme is not None,
            f"begins with {scheme and scheme[0]}: remove it; WORKER_KAFKA__SECURITY_PROTOCOL sets the protocol",
        ),
        (re.search(r"\s", part) is not None, "holds a space: separate brokers by commas"),
        (foreign is not None, f"holds {foreign and foreign[0]!r}: only a host and a port are allowed"),
        (address is not None and not _is_ipv6(host), "has no IPv6 address in its brackets"),
        (_is_ipv6(part), f"is an IPv6 address without brackets: write [{part}]:9092"),
        (address is None and ":" in host, "has more than one colon: an IPv6 address needs brackets"),
        (not host, "has no host"),
        (address is None and not set("[]").isdisjoint(host), "has a bracket that belongs around an IPv6 address"),
        (not is_port, f"has the port {port!r}: it must be a number from 1 to {PORT_MAX}"),
    ]


def _host_and_port(part: str) -> tuple[str, str | None]:
    host, colon, port = part.rpartition(":")
    return (host, port) if colon else (part, None)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
