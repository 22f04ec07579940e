"""The ten seconds of the trial run: feed, read what is committed, kill a worker half-way, see who takes over.

One thread and one loop, so that what is shown is what was read, in that order. "Judging again" is the moment at
which a read_committed reader gets the first verdict or dead letter that was produced after the kill for a
partition of the dead worker.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient

from schemas.labels import CATEGORY_NAMES, CATEGORY_SLUGS
from worker.commands.demo.view import ALERTS_SHOWN, Alarm, Scene, Screen, listed, seconds
from worker.commands.ledger import InputPosition
from worker.commands.ledger_reader import observed_output
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.errors import ExitCode, FatalError
from worker.records import Partition, Topic

if TYPE_CHECKING:
    from concurrent.futures import Future

FEED_MS = 10_000
FINISH_MS_MAX = 60_000
PULSE_MS = 250
PULSES = 40
JOIN_MS_MAX = 120_000
POLL_WAIT_S = 0.02
ASK_S_MAX = 1.0


class ScenarioError(FatalError):
    """The trial can't go on: a worker ended that should not have, or the group does not form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What the kill took.

    Attributes:
        victim: The worker.
        partitions: What it owned.
        at_ms: Since the first message.
        wall_ms: By the clock that stamps records.
        again_ms: When its partitions were judged again, since the first message; None: not yet.
    """

    victim: str
    partitions: frozenset[int]
    at_ms: int
    wall_ms: int
    again_ms: int | None = None


class Play:
    """What is known while it runs."""

    def __init__(
        self,
        *,
        messages: Sequence[bytes],
        names: KafkaNames,
        workers: Sequence[WorkerSubprocess],
        client_config: Mapping[str, Any],
        reader: Consumer,
    ) -> None:
        self.kill: Kill | None = None
        self._messages = messages
        self._names = names
        self._workers = workers
        self._reader = reader
        self._producer = Producer({"log_level": 0, **client_config, "linger.ms": 5})
        self._admin = AdminClient({"log_level": 0, **client_config})
        self._asked: Future[Any] | None = None
        self._owners: dict[str, Sequence[int] | None] = {worker.name: () for worker in workers}
        self._given = 0
        self._texts: dict[InputPosition, str] = {}
        self._answered: dict[InputPosition, int] = {}
        self._counts: Counter[Topic] = Counter()
        self._alerts: deque[Mapping[str, Any]] = deque(maxlen=ALERTS_SHOWN)
        self._began_ms = 0

    def await_group(self) -> str:
        """Returns once each worker has partitions: who has which.

        Raises:
            ScenarioError: It takes too long, or a worker ended.
        """
        deadline = time.monotonic() + JOIN_MS_MAX / 1000
        while not all(self._owners.values()):
            self._check_workers()
            self._ask_owners()
            time.sleep(POLL_WAIT_S)
            if time.monotonic() > deadline:
                raise ScenarioError(f"The workers did not share the partitions within {JOIN_MS_MAX // 1000} s.")
        return "; ".join(f"{name} has partitions {listed(owned or ())}" for name, owned in self._owners.items())

    def run(self, on: Screen) -> None:
        """Feeds all messages and returns once all are answered, or after a time that should have been enough.

        Raises:
            ScenarioError: The worker that was not killed ended.
        """
        self._began_ms = _monotonic_ms()
        while not self._over():
            self._feed()
            if self.kill is None and 2 * len(self._answered) >= len(self._messages):
                self._kill_one(on)
            self._read(on)
            self._ask_owners()
            self._check_workers()
            on.show(self.scene())
        self._producer.flush(1)  # the last reports of delivery
        on.show_last(self.scene())

    def close(self) -> None:
        """Lets go of the clients.

        One that is left to the end of the interpreter may call back into it and wait for ever.
        """
        self._producer.flush(1)
        del self._producer, self._admin

    def drain(self) -> None:
        """SIGTERM to who is left: it finishes what it has.

        Raises:
            ScenarioError: It did not end as one that has drained.
        """
        for worker in self._workers:
            if worker.exit_code is None and worker.drain() != ExitCode.DONE:
                raise ScenarioError(f"{worker.name} did not drain; its log ends:\n{worker.log_tail()}")

    def scene(self) -> Scene:
        """Where it stands now."""
        now_ms = self._now_ms()
        last = now_ms // PULSE_MS
        pulse = Counter(at_ms // PULSE_MS for at_ms in self._answered.values())
        return Scene(
            now_ms=now_ms,
            total=len(self._messages),
            fed=len(self._texts),
            verdicts=self._counts[Topic.VERDICT],
            alerts=self._counts[Topic.ALERT],
            dead_letters=self._counts[Topic.DEAD_LETTER],
            per_second=sum(at_ms > now_ms - 1000 for at_ms in self._answered.values()),
            pulse=[pulse[at] for at in range(max(0, last - PULSES), last)],
            owners=self._owners,
            alarms=[self._alarm(alert) for alert in self._alerts],
        )

    def _now_ms(self) -> int:
        return _monotonic_ms() - self._began_ms

    def _over(self) -> bool:
        all_answered = self._given == len(self._messages) == len(self._answered)
        return all_answered or self._now_ms() > FEED_MS + FINISH_MS_MAX

    def _feed(self) -> None:
        """Gives what is due: evenly, to the end."""
        due = len(self._messages) * min(self._now_ms(), FEED_MS) // FEED_MS
        for value in self._messages[self._given : due]:
            channel, text = _channel_and_text(value)
            self._producer.produce(self._names.input, value, key=channel, on_delivery=self._note(text))
        self._given = max(self._given, due)
        self._producer.poll(0)

    def _note(self, text: str) -> Callable[[KafkaError | None, Message], None]:
        def note(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._texts[self._place(message.partition(), message.offset())] = text

        return note

    def _place(self, partition: int | None, offset: int | None) -> InputPosition:
        assert partition is not None and offset is not None  # noqa: S101, PT018 - only of messages that are not delivered
        return Partition(self._names.input, partition), offset

    def _read(self, on: Screen) -> None:
        """Takes in what has been committed."""
        for message in self._reader.consume(1000, POLL_WAIT_S):
            if message.error() is not None:
                continue  # the end of a partition, for now; a broker that went away would come back
            topic = self._names.kind(message)
            self._counts[topic] += 1
            if topic is Topic.ALERT:
                self._alerts.appendleft(orjson.loads(message.value() or b"{}"))
            elif (source := observed_output(message, topic).source) is not None:
                self._answered.setdefault(source, self._now_ms())
                self._notice_takeover(source, message, on)

    def _notice_takeover(self, source: InputPosition, message: Message, on: Screen) -> None:
        kill = self.kill
        if kill is None or kill.again_ms is not None or source[0].number not in kill.partitions:
            return
        _, produced_ms = message.timestamp()
        if produced_ms > kill.wall_ms:
            again_ms = self._now_ms()
            self.kill = replace(kill, again_ms=again_ms)
            took = f"{(again_ms - kill.at_ms) / 1000:.1f} s"
            on.say(f"{seconds(again_ms)}  Its partitions are judged again, {took} after the kill.", "bold green")

    def _alarm(self, alert: Mapping[str, Any]) -> Alarm:
        source = alert["source"]
        return Alarm(
            categories=[(_NAMES[one["category"]], one["score"]) for one in alert["categories"]],
            # By default alerts carry no text; whoever fed it knows it.
            text=self._texts.get(self._place(source["partition"], source["offset"]), ""),
        )

    def _kill_one(self, on: Screen) -> None:
        """Kills the worker whose partitions are busiest, right after it was given more to do."""
        busy = Counter(partition.number for partition, _ in self._answered)
        victim = max(self._workers, key=lambda worker: sum(busy[one] for one in self._owners[worker.name] or ()))
        owned = self._owners[victim.name] or ()
        self._producer.flush(1)
        at_ms = self._now_ms()
        victim.kill()
        self.kill = Kill(
            victim=victim.name, partitions=frozenset(owned), at_ms=at_ms, wall_ms=time.time_ns() // 1_000_000
        )
        self._owners[victim.name] = None
        on.say(f"{seconds(at_ms)}  SIGKILL to {victim.name}, which owns partitions {listed(owned)}.", "bold red")

    def _ask_owners(self) -> None:
        """Keeps one question to the group's coordinator under way; what it last said is what is shown."""
        if self._asked is not None and self._asked.done() and self._asked.exception() is None:
            for member in self._asked.result().members:
                if self._owners.get(member.client_id) is not None and member.assignment is not None:
                    owned = sorted(at.partition for at in member.assignment.topic_partitions)
                    self._owners[member.client_id] = owned
        if self._asked is None or self._asked.done():
            # A new cluster's first question of this kind may hang until its time is up.
            asked = self._admin.describe_consumer_groups([self._names.group], request_timeout=ASK_S_MAX)
            self._asked = asked[self._names.group]

    def _check_workers(self) -> None:
        for worker in self._workers:
            if worker.exit_code is not None and (self.kill is None or worker.name != self.kill.victim):
                raise ScenarioError(
                    f"{worker.name} ended with exit code {worker.exit_code}; its log ends:\n{worker.log_tail()}"
                )


_NAMES = dict(zip(CATEGORY_SLUGS, CATEGORY_NAMES, strict=True))


def _channel_and_text(value: bytes) -> tuple[bytes | None, str]:
    """The key to give it, as a chat service would, and what to show for it."""
    try:
        message = orjson.loads(value)
        channel, text = message.get("channel_id"), message.get("text")
    except (orjson.JSONDecodeError, AttributeError):
        return None, ""  # one of those that are broken on purpose
    return channel.encode() if isinstance(channel, str) else None, text if isinstance(text, str) else ""


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
