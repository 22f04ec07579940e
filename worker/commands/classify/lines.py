"""Lines of texts or messages, judged without Kafka: read, scored, and written as JSON Lines for programs.

A line is prepared and judged by the very parts that the worker uses; only its source is another.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from msgspec.structs import replace

from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import Scorer, score_batch
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import FindUnscored
from worker.moderation.preprocessing import prepare
from worker.moderation.shapes import ReadRecord
from worker.moderation.text_rows import Encode
from worker.records import ConsumedRecord, Partition, PreparedMessage, PreparedRecord, ScoredRecord
from worker.scores import DeadLetterReason

CHUNK_BYTES = 256 * 1024
"""Largest read, in bytes: hundreds of messages from a file, or the whole content of a pipe."""

_LINES = Partition("", 0)
"""A line is from no topic: no glob of a policy's ``topic`` matches it."""


class Readable(Protocol):
    """A binary stream that returns what has arrived."""

    def read1(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; wait only while there are none. Empty bytes mean the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLine:
    """A line of standard input.

    Attributes:
        number: The number of the line, from 1.
        value: The line without its end; only the beginning of a line that is too long.
        size_bytes: The size of the whole line.
    """

    number: int
    value: bytes
    size_bytes: int


def read_lines(source: Readable, *, bytes_max: int, lines_max: int) -> Iterator[list[InputLine]]:
    """Give the lines as they arrive: a typed line by itself, the lines of a pipe in large batches.

    Args:
        source: The stream, which is read to its end.
        bytes_max: The bytes that are kept of a line, about. The rest of a longer line is read and dropped.
        lines_max: The most lines of a batch.
    """
    number, kept, size_bytes = 0, bytearray(), 0
    batch: list[InputLine] = []
    while chunk := source.read1(CHUNK_BYTES):
        *ends, rest = chunk.split(b"\n")
        for part in ends:
            kept += part[: bytes_max + 2 - len(kept)]  # one byte too many, and a carriage return
            number += 1
            batch.append(_line(number, bytes(kept), size_bytes + len(part)))
            kept.clear()
            size_bytes = 0
            if len(batch) == lines_max:
                yield batch
                batch = []
        kept += rest[: bytes_max + 2 - len(kept)]
        size_bytes += len(rest)
        if batch:
            yield batch
            batch = []
    if size_bytes:
        yield [_line(number + 1, bytes(kept), size_bytes)]


def _line(number: int, kept: bytes, size_bytes: int) -> InputLine:
    value = kept.removesuffix(b"\r") if len(kept) == size_bytes else kept
    return InputLine(number=number, value=value, size_bytes=size_bytes - len(kept) + len(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class LineJudge:
    """The worker's parts, for lines.

    Attributes:
        scorer: The model.
        encode: The tokenizer, which makes the rows of a text.
        read: Reads a line.
        bytes_max: Largest size of a line, in bytes.
        cache: The scores of texts that were judged before.
        find_unscored: Finds the messages that the policy does not want scored; None: it wants all scored.
    """

    scorer: Scorer
    encode: Encode
    read: ReadRecord
    bytes_max: int
    cache: ScoreCache
    find_unscored: FindUnscored | None = None

    def results(self, lines: Sequence[InputLine]) -> list[ScoredRecord]:
        """Return each line, or each element of its array, with its scores, or with the reason why it has none.

        Raises:
            ModelError: The device is broken.
        """
        prepared = prepare(
            [_fetched(line) for line in lines],
            read=self.read,
            encode=self.encode,
            cache=self.cache,
            message_id=_by_line,
            find_unscored=self.find_unscored,
        )
        sizes = {line.number: line.size_bytes for line in lines}
        records = [
            record
            if (size_bytes := sizes[record.source.offset]) <= self.bytes_max
            else self._too_large(record, size_bytes)
            for record in prepared
        ]
        return score_batch(self.scorer, records, self.cache)

    def _too_large(self, record: PreparedRecord, size_bytes: int) -> PreparedRecord:
        """Name the size of the whole line, which the kept part does not show."""
        sentence = f"The value has {size_bytes} bytes; the limit is {self.bytes_max}."
        return replace(record, content=DeadLetterReason(reason="too_large", message=sentence))


def judge_lines(
    batches: Iterable[Sequence[InputLine]],
    sink: BinaryIO,
    *,
    judge: LineJudge,
    outputs: OutputBuilder,
    now: Callable[[], str],
) -> bool:
    """Judge messages, one a line, and write verdicts or errors, one a line, in order. Flush after each batch.

    Returns:
        Whether every line was judged.

    Raises:
        ModelError: The device is broken; what was written before is right.
    """
    good = True
    for lines in batches:
        results = [_blank_refused(result) for result in judge.results(lines)]
        good = good and not any(result.dead_letter_reason for result in results)
        sink.write(b"".join(line + b"\n" for line in outputs.json_lines(results, judged_at=now())))
        sink.flush()
    return good


def lines_of(texts: Sequence[str]) -> list[InputLine]:
    """Return a command's arguments as lines, with the bytes that the user typed."""
    values = map(os.fsencode, texts)
    return [InputLine(number=n, value=value, size_bytes=len(value)) for n, value in enumerate(values, 1)]


def _fetched(line: InputLine) -> ConsumedRecord:
    return ConsumedRecord(
        partition=_LINES,
        assignment_epoch=0,
        previous_next_offset=line.number,
        offset=line.number,
        timestamp_ms=None,
        key=None,
        value=line.value,
        headers=(),
    )


def _by_line(source: ConsumedRecord, item: int | None) -> str:
    """Return the id for a message without an id."""
    return f"line:{source.offset}" if item is None else f"line:{source.offset}#{item}"


def _blank_refused(result: ScoredRecord) -> ScoredRecord:
    """With ``INPUT__FORMAT=text`` a blank line would be a blank text, and get a verdict: it is a bad line."""
    record = result.record
    if not isinstance(record.content, PreparedMessage) or (record.source.value or b"").strip():
        return result
    return ScoredRecord(
        record=replace(record, content=DeadLetterReason(reason="no_text", message="The line is blank.")),
        scores=None,
    )
