"""The bound on dead letters: a worker that turns everything away must stop, not go on quietly.

A dead letter is no way past moderation, and a model or a producer that breaks makes nothing else. So the
share of dead letters within the last records is bounded, by who is to blame, and the batch that would cross a
bound is not committed: once the cause is mended, its records are judged.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.dead_letter import MODEL_REASONS
from worker.errors import ModelBroken, Protected
from worker.records import Fault, Result

_JUDGED_FROM_RECORDS = 50  # with fewer, one bad message would be a large share


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareBounds:
    """The bounds.

    Attributes:
        model_share_max: Of records that break the model, in [0, 1].
        input_share_max: Of records that can't be decoded, in [0, 1].
        window_records: How many of the last records count.
    """

    model_share_max: float
    input_share_max: float
    window_records: int


class DeadLetterShare:
    """The share of dead letters among the last records that were published."""

    def __init__(self, bounds: ShareBounds) -> None:
        self._bounds = bounds
        self._window: deque[tuple[str, str] | None] = deque(maxlen=bounds.window_records)

    def observe(self, results: Sequence[Result]) -> None:
        """Counts what has been committed."""
        self._window.extend(_outcomes(results))

    def check(self, results: Sequence[Result]) -> None:
        """Looks at results before they are published.

        Raises:
            ModelBroken: Too many records break the model.
            Protected: Too many records can't be decoded.
        """
        window = deque(self._window, maxlen=self._bounds.window_records)
        window.extend(_outcomes(results))
        if len(window) < _JUDGED_FROM_RECORDS:
            return
        dead = [outcome for outcome in window if outcome is not None]
        model = [(reason, place) for reason, place in dead if reason in MODEL_REASONS]
        given = [(reason, place) for reason, place in dead if reason not in MODEL_REASONS]
        if len(model) > self._bounds.model_share_max * len(window):
            raise ModelBroken(_sentence(model, len(window), "MODEL_SHARE_MAX", self._bounds.model_share_max))
        if len(given) > self._bounds.input_share_max * len(window):
            raise Protected(_sentence(given, len(window), "INPUT_SHARE_MAX", self._bounds.input_share_max))


def _outcomes(results: Sequence[Result]) -> list[tuple[str, str] | None]:
    """Of each record that owes something the reason why it is a dead letter, and where it stands."""
    outcomes: list[tuple[str, str] | None] = []
    for result in results:
        record = result.record
        if record.source.value is None:
            continue
        fault = record.content if isinstance(record.content, Fault) else result.scores
        if isinstance(fault, Fault):
            outcomes.append((fault.reason, f"{record.source.partition} at offset {record.source.offset}"))
        else:
            outcomes.append(None)
    return outcomes


def _sentence(dead: Sequence[tuple[str, str]], window_records: int, name: str, share_max: float) -> str:
    commonest = Counter(reason for reason, _ in dead).most_common(1)[0][0]
    place = next(place for reason, place in reversed(dead) if reason == commonest)
    return (
        f"{len(dead)} of the last {window_records} records would be dead letters ({share_max:.0%} may be), "
        f"most of them {commonest}; {place} is one. The last batch is not committed. Mend what sends or judges "
        f"them, or raise WORKER_DEAD_LETTER__{name}, and start again."
    )
