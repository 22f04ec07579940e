"""Where the error codes stand in a broker's answers, in the versions that librdkafka 2.16 asks for.

Source of the layouts: https://kafka.apache.org/protocol. Another version is a ``KeyError``.
"""

from dataclasses import dataclass
from enum import IntEnum


class Api(IntEnum):
    PRODUCE = 0
    FETCH = 1
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Of one api in one version.

    Attributes:
        flexible: It has compact lengths and tagged fields.
        by_partition: There is a code for each partition; otherwise one.
        rest_bytes: What follows the code of a partition, without its tagged fields, when all is well.
        throttled: The time of throttling stands first; otherwise last.
    """

    flexible: bool = False
    by_partition: bool = False
    rest_bytes: int = 0
    throttled: bool = True


_LAYOUTS = {
    (Api.PRODUCE, 10): _Layout(flexible=True, by_partition=True, rest_bytes=26, throttled=False),
    (Api.INIT_PRODUCER_ID, 4): _Layout(flexible=True),
    (Api.ADD_PARTITIONS_TO_TXN, 0): _Layout(by_partition=True),
    (Api.ADD_OFFSETS_TO_TXN, 0): _Layout(),
    (Api.END_TXN, 1): _Layout(),
    (Api.TXN_OFFSET_COMMIT, 3): _Layout(flexible=True, by_partition=True),
}


def made_up(api: int, version: int, correlation: bytes, code: int) -> bytes:
    """An answer that is nothing but an error; only of the plainest apis."""
    assert _LAYOUTS[Api(api), version] == _Layout(), (api, version)
    return correlation + bytes(4) + code.to_bytes(2, signed=True)


def rewritten(api: int, version: int, answer: bytes, code: int) -> bytes:
    """The answer with another error code, for each partition where there are several."""
    changed = bytearray(answer)
    for at in _places(_LAYOUTS[Api(api), version], answer):
        changed[at : at + 2] = code.to_bytes(2, signed=True)
    return bytes(changed)


def codes(api: int, version: int, answer: bytes) -> list[int]:
    """The answer's error codes."""
    places = _places(_LAYOUTS[Api(api), version], answer)
    return [int.from_bytes(answer[at : at + 2], signed=True) for at in places]


def _places(layout: _Layout, answer: bytes) -> list[int]:
    at = 4 + layout.flexible + 4 * layout.throttled
    if not layout.by_partition:
        return [at]

    def length(size: int) -> int:  # of the tests' names and lists: below 127
        nonlocal at
        at += 1 if layout.flexible else size
        return answer[at - 1] - layout.flexible

    found = []
    for _ in range(length(4)):
        name_bytes = length(2)
        at += name_bytes
        for _ in range(length(4)):
            found.append(at + 4)
            at += 6 + layout.rest_bytes + layout.flexible
        at += layout.flexible
    assert at + 4 * (not layout.throttled) + layout.flexible == len(answer), "another layout than expected"
    return found
