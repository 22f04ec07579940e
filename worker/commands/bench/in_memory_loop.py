"""Run the worker's own loop with its three threads on a log in memory, to measure one worker without Kafka."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice

import orjson

from worker import loop_wiring, wiring
from worker.errors import ModelError
from worker.records import NO_STATES, ConsumedRecord, DeadLetterExcess, MessagePosition, OutputRecord, Partition
from worker.settings import Settings
from worker.settings.groups import INT32_MAX

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

    Raises:
        ModelError: The device is broken.
    """
    log = _InMemoryLog(consumed(texts))
    loop = loop_wiring.open_loop(settings_for_samples(settings), model, log)
    rates: list[float] = []
    messages = FIRST_ROUND
    while True:
        began_ns = clock_ns()
        log.unread = log.unpublished = messages
        while log.unpublished:
            loop.turn()
        took_s = max(1, clock_ns() - began_ns) / 1e9
        rates.append(messages / took_s)
        if took_s >= seconds / 2 and len(rates) > 1:
            return max(rates)
        messages *= 2


class _InMemoryLog:
    """The loop's ``TransactionalSession`` on a list of messages, which it repeats.

    Attributes:
        unread: Number of messages that ``poll`` may still return.
        unpublished: Number of messages whose outputs are not published yet.
    """

    def __init__(self, messages: Sequence[ConsumedRecord]) -> None:
        self.invalidations = self.state_characters_max = self.unread = self.unpublished = 0
        self.rejected: Mapping[MessagePosition, str] = {}
        self.exempt_below: Mapping[Partition, int] = {}
        self.states = NO_STATES
        self._messages = cycle(messages)
        self._paused = False

    def poll(self, *, records_max: int, wait_ms: int) -> list[ConsumedRecord]:
        assert self.unread or not wait_ms  # noqa: S101 - the loop waits only when everything is published
        count = 0 if self._paused else min(records_max, self.unread)
        self.unread -= count
        return list(islice(self._messages, count))

    def owns(self, _record: ConsumedRecord) -> bool:
        return True

    def ready(self) -> bool:
        return True

    def is_idle(self, _partition: Partition) -> bool:
        return False

    def publish(
        self,
        records: Sequence[ConsumedRecord],
        _outputs: Sequence[OutputRecord],
        _states: Mapping[Partition, str] = NO_STATES,
    ) -> bool:
        self.unpublished -= len(records)
        return True

    def rewind(self) -> None:
        raise AssertionError("this log never fails")

    def quarantine(self, excesses: Sequence[DeadLetterExcess]) -> None:
        raise ModelError(f"{excesses[0]}.")

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False


def settings_for_samples(settings: Settings) -> Settings:
    """Return the settings for ``consumed`` messages: the contract's own format, no size limit, no score cache."""
    bounds = {"bytes_max": INT32_MAX, "characters_max": settings.input.characters_max}
    samples = Settings().input.model_copy(update=bounds)
    cache = settings.cache.model_copy(update={"bytes_max": 0})
    return settings.model_copy(update={"input": samples, "cache": cache})


def consumed(texts: Sequence[str]) -> list[ConsumedRecord]:
    """Return the texts as messages of one partition, in the contract's own format."""
    return [
        ConsumedRecord(
            partition=Partition("bench", 0),
            assignment_epoch=0,
            previous_next_offset=offset,
            offset=offset,
            timestamp_ms=0,
            key=b"channel",
            value=orjson.dumps(
                {"message_id": f"m-{offset}", "channel_id": "channel", "user_id": "user", "text": text}
            ),
            headers=(),
        )
        for offset, text in enumerate(texts)
    ]
