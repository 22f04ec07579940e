"""Run the worker's own loop with its three threads on a log in memory, to measure one worker without Kafka."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice

from worker import loop_wiring, wiring
from worker.commands.text_records import records_of, settings_for_texts
from worker.errors import ModelError
from worker.records import NO_STATES, ConsumedRecord, DeadLetterExcess, MessagePosition, Partition
from worker.settings import Settings

FIRST_ROUND = 16
"""Messages of the first round. With fewer messages, the threads would mostly wait for each other."""


def messages_per_second(
    settings: Settings,
    model: wiring.ScoringModel,
    texts: Sequence[str],
    *,
    seconds: float,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> float:
    """Measure how many messages a second the worker judges with these texts.

    The score cache is off, because the texts are repeated and the cache would soon hold all of them. The number of
    messages doubles until a round takes half of the time. The best of at least two rounds counts, because the first
    round is slower, and because other work on the machine makes a round slower.

    Args:
        settings: The worker's settings. The texts have the markup of its shape.
        model: An open model.
        texts: The texts.
        seconds: About how long to measure.
        clock_ns: Returns the time in nanoseconds.

    Raises:
        ModelError: The device is broken.
    """
    log, markup = _InMemoryLog(records_of(texts)), wiring.input_shape(settings).markup
    loop = loop_wiring.open_loop(settings_for_texts(settings), model, log, markup=markup)
    rates: list[float] = []
    messages = FIRST_ROUND
    while True:
        began_ns = clock_ns()
        log.unread, committed = messages, loop.totals.records
        while loop.totals.records < committed + messages:
            loop.turn()
        took_s = max(1, clock_ns() - began_ns) / 1e9
        rates.append(messages / took_s)
        if took_s >= seconds / 2 and len(rates) > 1:
            return max(rates)
        messages *= 2


class _InMemoryLog:
    """The loop's ``TransactionalSession`` on a list of records, which it repeats.

    Attributes:
        unread: Number of records that ``poll`` may still return.
    """

    def __init__(self, records: Sequence[ConsumedRecord]) -> None:
        self.invalidations = self.state_characters_max = self.unread = 0
        self.rejected: Mapping[MessagePosition, str] = {}
        self.exempt_below: Mapping[Partition, int] = {}
        self.states = NO_STATES
        self._records = cycle(records)
        self._paused = False

    def poll(self, *, records_max: int, wait_ms: int) -> list[ConsumedRecord]:  # noqa: ARG002
        count = 0 if self._paused else min(records_max, self.unread)
        self.unread -= count
        return list(islice(self._records, count))

    def owns(self, _record: ConsumedRecord) -> bool:
        return True

    def ready(self) -> bool:
        return True

    def is_idle(self, _partition: Partition) -> bool:
        return False

    def publish(self, *_: object, **__: object) -> bool:
        return True

    def rewind(self) -> None:
        raise AssertionError("this log never fails")

    def quarantine(self, excesses: Sequence[DeadLetterExcess]) -> None:
        raise ModelError(f"{excesses[0]}.")

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
