"""The ten seconds of the demo: feed, read what is committed, kill a worker half-way, and see who takes over.

One thread and one loop, so the demo shows records in the order in which they were read. "Judging again" is the
moment at which a read_committed reader gets a verdict or dead letter for a partition of the killed worker that was
produced after the kill.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import orjson
from confluent_kafka import Consumer, Message
from rich.console import Console

from schemas.labels import CATEGORY_NAMES, CATEGORY_SLUGS
from worker.commands.demo.decisions import DecisionTally
from worker.commands.demo.partition_owners import SLOTS, PartitionOwners, worker_name
from worker.commands.demo.view import ALERTS_SHOWN, DemoStatus, Screen, ShownAlert, listed, screen, seconds
from worker.commands.ledger import InputPosition
from worker.commands.prove.environment import Environment
from worker.commands.prove.feed import MessageFeed, open_producer
from worker.commands.prove.messages import FeedRecord
from worker.commands.prove.observers import OutputObserver
from worker.commands.prove.plan import Action
from worker.commands.prove.processes import WorkerPool
from worker.errors import FatalError
from worker.kafka.topic_reader import open_reader
from worker.records import Partition, Topic

FEED_MS = 10_000
FINISH_MS_MAX = 60_000
BAR_MS = 250
BARS_SHOWN = 40
JOIN_MS_MAX = 120_000
POLL_WAIT_S = 0.02

_NAMES = dict(zip(CATEGORY_SLUGS, CATEGORY_NAMES, strict=True))


class GroupNotFormedError(FatalError):
    """The workers did not share the partitions in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KilledWorker:
    """What the kill hit.

    Attributes:
        name: The worker's name.
        partitions: The partitions that it owned.
        at_ms: When, in milliseconds since the first message.
        at_epoch_ms: When, by the clock that stamps records.
        judged_again_ms: When its partitions were judged again, in milliseconds since the first message; None: not
            yet.
    """

    name: str
    partitions: frozenset[int]
    at_ms: int
    at_epoch_ms: int
    judged_again_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo showed.

    Attributes:
        killed: The killed worker; None: too little was judged for a kill.
        decisions: What the policy decided.
    """

    killed: KilledWorker | None
    decisions: DecisionTally


def run_scenario(
    environment: Environment, messages: Sequence[bytes], *, console: Console, step: Callable[[str], None]
) -> DemoResult:
    """Start two workers, feed, kill one, and drain the other.

    Args:
        environment: Empty topics, and a way to start workers.
        messages: The messages to feed.
        console: Where to show the state.
        step: Prints a line with the time.

    Returns:
        The killed worker, and what the policy decided.

    Raises:
        UnexpectedExitError: A worker ended by itself, or did not drain.
        GroupNotFormedError: The workers did not share the partitions in time.
    """
    step("Starting two workers; each loads PyTorch and the model ...")
    with (
        closing(WorkerPool(environment.start_worker, SLOTS, restart_on=(), say=step)) as workers,
        open_reader(environment.client, list(environment.names.outputs.values())) as reader,
        closing(Scenario(environment, messages, workers, reader)) as scenario,
    ):
        with console.status("waiting for both to join the group"):
            owners = scenario.await_group()
        step(f"{owners}.")
        step(f"Feeding {len(messages)} messages; one worker will be killed. The clock starts anew.")
        with screen(console) as shown:
            scenario.run(shown)
        workers.drain()
        return DemoResult(killed=scenario.killed, decisions=scenario.decisions)


class Scenario:
    """The loop, and what it knows.

    Args:
        environment: Topics and names.
        messages: The messages to feed.
        workers: Two workers.
        reader: A read_committed reader of the output topics.

    Attributes:
        killed: The killed worker; None: not yet.
        decisions: What the policy decided so far.
    """

    def __init__(
        self, environment: Environment, messages: Sequence[bytes], workers: WorkerPool, reader: Consumer
    ) -> None:
        self.killed: KilledWorker | None = None
        self.decisions = DecisionTally()
        self._messages = messages
        self._input = environment.names.input
        self._workers = workers
        self._outputs = OutputObserver(reader, environment.names)
        self._owners = PartitionOwners(environment.client, environment.names.group)
        self._feed = MessageFeed(
            producer=open_producer(environment.client),
            topic=self._input,
            per_second=max(1, len(messages) * 1000 // FEED_MS),
            record=self._record,
            total=len(messages),
            on_delivered=self._remember_text,
        )
        self._texts: dict[InputPosition, str] = {}
        self._judged_ms: dict[InputPosition, int] = {}
        self._alerts: deque[Mapping[str, Any]] = deque(maxlen=ALERTS_SHOWN)
        self._began_ms = _monotonic_ms()

    def await_group(self) -> str:
        """Wait until each worker has partitions, and return a sentence about who has which.

        Raises:
            UnexpectedExitError: A worker ended.
            GroupNotFormedError: It takes longer than two minutes.
        """
        while not all(self._owners.by_worker.values()):
            self._workers.check(self._now_ms)
            self._owners.refresh()
            time.sleep(POLL_WAIT_S)
            if self._now_ms > JOIN_MS_MAX:
                raise GroupNotFormedError(
                    f"The workers did not share the partitions within {JOIN_MS_MAX // 1000} s. "
                    "On a busy machine, start the command again."
                )
        return "; ".join(f"{worker_name(slot)} has partitions {listed(self._owners.of(slot))}" for slot in SLOTS)

    def run(self, on: Screen) -> None:
        """Feed all messages, until all are judged and the raid is summed up, or 70 seconds have passed.

        Raises:
            UnexpectedExitError: The worker that was not killed ended.
        """
        self._began_ms = _monotonic_ms()
        while not self._is_over():
            self._feed.write_due(self._now_ms)
            if self.killed is None and 2 * len(self._judged_ms) >= len(self._messages):
                self._kill_busiest(on)
            self._read(on)
            self._owners.refresh()
            self._workers.check(self._now_ms)
            on.show(self._status())
        self._feed.producer.flush(1)  # the last delivery reports
        on.show_last(self._status())

    def close(self) -> None:
        """Release the clients.

        A client that exists when the interpreter ends may call back into the interpreter, and wait forever.
        """
        self._feed.producer.flush(1)
        del self._feed, self._owners

    @property
    def _now_ms(self) -> int:
        """Milliseconds since the first message."""
        return _monotonic_ms() - self._began_ms

    def _is_over(self) -> bool:
        is_done = len(self._judged_ms) == len(self._messages) and bool(self.decisions.coalesced)
        return is_done or self._now_ms > FEED_MS + FINISH_MS_MAX

    def _record(self, number: int) -> FeedRecord:
        value = self._messages[number]
        channel = _fields(value).get("channel_id")
        return FeedRecord(value=value, key=channel.encode() if isinstance(channel, str) else None)

    def _remember_text(self, delivered: Message) -> None:
        """Keep the text for the screen: by default alerts carry no text."""
        text = _fields(delivered.value() or b"").get("text")
        partition = Partition(self._input, delivered.partition() or 0)
        self._texts[partition, delivered.offset() or 0] = text if isinstance(text, str) else ""

    def _read(self, on: Screen) -> None:
        for message, output in self._outputs.read(self._now_ms):
            if output.topic is Topic.ALERT:
                alert = orjson.loads(message.value() or b"{}")
                self._alerts.appendleft(alert)
                self.decisions.add_alert(alert)
            elif output.source is not None:
                if output.topic is Topic.VERDICT:
                    self.decisions.add_verdict(orjson.loads(message.value() or b"{}"))
                self._judged_ms.setdefault(output.source, self._now_ms)
                self._notice_takeover(output.source, message, on)

    def _notice_takeover(self, source: InputPosition, message: Message, on: Screen) -> None:
        killed = self.killed
        if killed is None or killed.judged_again_ms is not None or source[0].number not in killed.partitions:
            return
        _, produced_ms = message.timestamp()
        if produced_ms > killed.at_epoch_ms:
            now_ms = self._now_ms
            self.killed = replace(killed, judged_again_ms=now_ms)
            took = f"{(now_ms - killed.at_ms) / 1000:.1f} s"
            on.say(f"{seconds(now_ms)}  Its partitions are judged again, {took} after the kill.", "bold green")

    def _kill_busiest(self, on: Screen) -> None:
        """Kill the worker with the busiest partitions, just after it got more messages."""
        judged = Counter(partition.number for partition, _ in self._judged_ms)
        slot = max(SLOTS, key=lambda slot: sum(judged[number] for number in self._owners.of(slot)))
        name, owned = worker_name(slot), self._owners.of(slot)
        self._feed.producer.flush(1)
        at_ms = self._now_ms
        self._workers.apply(Action.KILL, slot)
        self.killed = KilledWorker(
            name=name, partitions=frozenset(owned), at_ms=at_ms, at_epoch_ms=time.time_ns() // 1_000_000
        )
        self._owners.by_worker[name] = None
        on.say(f"{seconds(at_ms)}  SIGKILL to {name}, which owns partitions {listed(owned)}.", "bold red")

    def _status(self) -> DemoStatus:
        now_ms = self._now_ms
        bar = now_ms // BAR_MS
        judged_in_bar = Counter(at_ms // BAR_MS for at_ms in self._judged_ms.values())
        counts = self._outputs.counts
        return DemoStatus(
            now_ms=now_ms,
            total=len(self._messages),
            fed=len(self._texts),
            verdicts=counts[Topic.VERDICT],
            alerts=counts[Topic.ALERT],
            dead_letters=counts[Topic.DEAD_LETTER],
            per_second=sum(at_ms > now_ms - 1000 for at_ms in self._judged_ms.values()),
            bars=[judged_in_bar[number] for number in range(max(0, bar - BARS_SHOWN), bar)],
            owners=self._owners.by_worker,
            levels=self.decisions.levels,
            exempt=self.decisions.exempt.total(),
            counted=sum(self.decisions.coalesced),
            latest_alerts=[self._shown_alert(alert) for alert in self._alerts],
        )

    def _shown_alert(self, alert: Mapping[str, Any]) -> ShownAlert:
        source = alert["source"]
        position = Partition(self._input, source["partition"]), source["offset"]
        categories = [(_NAMES[one["category"]], one["score"]) for one in alert["categories"]]
        return ShownAlert(
            categories=categories,
            text=self._texts.get(position, ""),
            level=alert["level"],
            counted=alert["repeat"]["count"] if "repeat" in alert else None,
        )


def _fields(value: bytes) -> Mapping[str, Any]:
    """Return the fields of a message; none where the message is unreadable on purpose."""
    try:
        message = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return message if isinstance(message, dict) else {}


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
