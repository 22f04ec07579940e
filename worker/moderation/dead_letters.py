"""Build dead letters: the original record, with the reason in headers. Pure."""

from schemas import dead_letter
from worker.moderation.output_headers import size_bytes
from worker.records import ConsumedRecord, Headers, OutputRecord, Topic
from worker.scores import DeadLetterReason

STUB_KEY_BYTES_MAX = 1024
"""Longest key that a stub keeps, in bytes. This worker does not know the limit of the broker that rejected the
record.
"""

_OMISSIONS = ((), ("value",), ("value", "headers"), ("value", "headers", "key"))
"""The parts of the original that a dead letter may leave out, the fewest first."""

_REJECTIONS = {
    failure.reason: failure
    for failure in (
        DeadLetterReason(
            reason="output_too_large",
            message="The broker rejected an output of this message: it is too large for the topic.",
        ),
        DeadLetterReason(
            reason="output_refused",
            message="The broker rejected an output of this message (INVALID_RECORD), but accepted similar outputs.",
        ),
    )
}


class DeadLetterBuilder:
    """Builds dead letters.

    Args:
        record_bytes_max: Largest size of key, value and headers together.
        worker_version: Version of this worker, for a header.
    """

    def __init__(self, *, record_bytes_max: int, worker_version: str) -> None:
        self._record_bytes_max = record_bytes_max
        self._worker_version = worker_version

    def build(
        self, source: ConsumedRecord, failure: DeadLetterReason, item: int | None = None, *, with_value: bool = True
    ) -> OutputRecord:
        """Return a dead letter with as much of the original as fits.

        Args:
            source: The record.
            failure: Why it is a dead letter.
            item: The number of the element that is the dead letter; None for the whole record.
            with_value: Whether the dead letter has the record's value.
        """
        for omitted in _OMISSIONS if with_value else _OMISSIONS[1:]:
            letter = self._without(omitted, source, failure, item)
            if size_bytes(letter.key, letter.value, letter.headers) <= self._record_bytes_max:
                return letter
        return letter  # the limit is below the size of our own headers: the broker decides

    def of_rejected(
        self, source: ConsumedRecord, own: DeadLetterReason | None, reason: str, item: int | None = None
    ) -> OutputRecord:
        """Return the dead letter of a record whose output a broker rejects.

        It is a stub, unless the broker rejected the output for another reason than its size.

        Args:
            source: The record.
            own: Why the record is a dead letter in any case: a broker rejects its dead letter. None for a record
                with a verdict.
            reason: ``output_too_large`` or ``output_refused``.
            item: The number of the element; None for the whole record.
        """
        if own is not None:
            return self._stub(source, own, item)
        failure = _REJECTIONS[reason]
        is_small = reason == "output_refused"
        return self.build(source, failure, item) if is_small else self._stub(source, failure, item)

    def _stub(self, source: ConsumedRecord, failure: DeadLetterReason, item: int | None) -> OutputRecord:
        """Return a dead letter so small that no broker rejects it for its size."""
        keeps_key = len(source.key or b"") <= STUB_KEY_BYTES_MAX
        return self._without(_OMISSIONS[2 if keeps_key else 3], source, failure, item)

    def _without(
        self, omitted: tuple[str, ...], source: ConsumedRecord, failure: DeadLetterReason, item: int | None
    ) -> OutputRecord:
        own_headers = {
            "error.reason": failure.reason,
            "error.message": failure.message[: dead_letter.MESSAGE_CHARACTERS_MAX],
            "error.truncated": ",".join(omitted) or None,
            "source.topic": source.partition.topic,
            "source.partition": source.partition.number,
            "source.offset": source.offset,
            "source.item": item,
            "source.timestamp_ms": source.timestamp_ms,
            "worker": self._worker_version,
        }
        return OutputRecord(
            topic=Topic.DEAD_LETTER,
            source=source,
            key=None if "key" in omitted else source.key,
            value=None if "value" in omitted else source.value,
            headers=[
                *([] if "headers" in omitted else _input_headers(source.headers)),
                *((dead_letter.PREFIX + name, str(v).encode()) for name, v in own_headers.items() if v is not None),
            ],
            metric_values=(failure.reason,),
            item=item,
        )


def _input_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """Return the input's headers without those that a reader could take for this worker's."""
    return [(name, value) for name, value in headers if not name.lower().startswith(dead_letter.PREFIX)]
