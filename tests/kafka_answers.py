"""The places of the error codes in a broker's answers, in the versions that librdkafka 2.16 requests.

Source of the layouts: https://kafka.apache.org/protocol. Another version raises ``KeyError``.
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
    """The layout of an answer of one API in one version.

    Attributes:
        flexible: Whether it has compact lengths and tagged fields.
        by_partition: Whether it has one code for each partition; otherwise it has one code.
        rest_bytes: Size of what follows the code of a partition without an error, without the tagged fields.
        throttled: Whether the throttle time is the first field; otherwise it is the last field.
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


def error_answer(api: int, version: int, correlation: bytes, code: int) -> bytes:
    """Return an answer that holds only an error; only for APIs with the simplest layout."""
    assert _LAYOUTS[Api(api), version] == _Layout(), (api, version)
    return correlation + bytes(4) + code.to_bytes(2, signed=True)


def rewritten(api: int, version: int, answer: bytes, code: int) -> bytes:
    """Return the answer with another error code, in each partition if there are several."""
    changed = bytearray(answer)
    for at in _places(_LAYOUTS[Api(api), version], answer):
        changed[at : at + 2] = code.to_bytes(2, signed=True)
    return bytes(changed)


def error_codes(api: int, version: int, answer: bytes) -> list[int]:
    """Return the error codes of the answer."""
    places = _places(_LAYOUTS[Api(api), version], answer)
    return [int.from_bytes(answer[at : at + 2], signed=True) for at in places]


def _places(layout: _Layout, answer: bytes) -> list[int]:
    at = 4 + layout.flexible + 4 * layout.throttled
    if not layout.by_partition:
        return [at]

    def length(size: int) -> int:  # the names and lists of the tests are shorter than 127
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
    assert at + 4 * (not layout.throttled) + layout.flexible == len(answer), (
        "the layout of the answer is another one than expected"
    )
    return found
