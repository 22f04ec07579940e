"""The memory of a record."""

from worker.records import ConsumedRecord, Headers, Partition


def size_bytes(headers: Headers) -> int:
    return ConsumedRecord(
        partition=Partition("messages", 0),
        assignment_epoch=1,
        previous_next_offset=0,
        offset=0,
        timestamp_ms=None,
        key=b"key",
        value=b"value",
        headers=headers,
    ).size_bytes


def test_headers_take_memory_even_when_they_are_empty() -> None:
    assert size_bytes([]) == 8
    assert size_bytes([("", None)] * 1000) > 50_000
    assert size_bytes([("name", b"x" * 1000)]) > 1000
