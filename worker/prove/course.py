"""The course of a proof: one loop that feeds, reads, breaks and waits.

One thread, so that the timeline is the order in which things were seen; only what is done to a broker takes long,
and is done beside it. The ledger is asked twice: of what the concurrent reader saw while the faults went on, and of
what a reader finds at the end.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import KafkaError, Producer

from worker.demo.broker import Broker
from worker.demo.reading import read_topics
from worker.errors import KafkaRefused
from worker.ledger import audit
from worker.prove.account import Offsets, Reading, rebalances
from worker.prove.crew import Crew
from worker.prove.plan import Do, Fault, faults
from worker.prove.proof import Beat, Happening, Proof, Stage
from worker.reading import open_reader
from worker.records import Partition

BEAT_MS = 500
TELL_MS = 10_000
FIRST_FAULT_MS = 2_000
JOIN_MS_MAX = 120_000
AT_WORK_MS_MAX = 30_000
FINISH_MS_MAX = 180_000
BROKER_STEPS: Mapping[Do, Callable[[Broker], None]] = {
    Do.BROKER_KILL: Broker.kill,
    Do.BROKER_STOP: Broker.stop,
    Do.BROKER_START: Broker.start,
}


def message(number: int) -> bytes | None:
    """Mostly a chat message; now and then one that can't be read, a blank one, or a tombstone."""
    match number % 100:
        case 7:
            return None
        case 23 | 73:
            return b"no JSON"
        case 41:
            return orjson.dumps({"text": " "})
        case _:
            return orjson.dumps({"text": f"message {number}", "channel_id": number % 40})


@dataclass(slots=True, kw_only=True)
class Feed:
    """Messages at an even rate, over the partitions in turn."""

    producer: Producer
    inputs: Sequence[Partition]
    per_second: int
    owing: int = 0  # that Kafka has, without the tombstones
    ends: Counter[Partition] = field(default_factory=Counter)
    _given: int = 0

    def give(self, now_ms: int) -> None:
        """What is due; after a pause not all at once."""
        self.fill(min(now_ms * self.per_second // 1000, self._given + self.per_second))

    def fill(self, total: int) -> None:
        """As many as make so many in all, as far as the producer takes them."""
        for number in range(self._given, total):
            value = message(number)
            try:
                topic, partition = self.inputs[number % len(self.inputs)]
                self.producer.produce(topic, value, partition=partition, on_delivery=self._note)
            except BufferError:  # a broker is away, or slow
                break
            self._given = number + 1
        self.producer.poll(0)

    def _note(self, error: KafkaError | None, told: Any) -> None:
        if error is None:
            at = self.inputs[told.partition()]
            self.ends[at] = max(self.ends[at], told.offset() + 1)
            self.owing += told.value() is not None


@dataclass(slots=True, kw_only=True)
class Course:
    """What is known while it goes on."""

    stage: Stage
    crew: Crew
    feed: Feed
    reading: Reading
    offsets: Offsets
    say: Callable[[str], None]
    happenings: list[Happening] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    began_s: float = field(default_factory=lambda: time.time_ns() / 1e9)  # by the clock that stamps logs
    _aside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "broker"))
    _began_ns: int = field(default_factory=time.monotonic_ns)
    _told_ms: int = 0

    @property
    def now_ms(self) -> int:
        """Since the beginning."""
        return (time.monotonic_ns() - self._began_ns) // 1_000_000

    @property
    def lag(self) -> int:
        """Messages that Kafka has and the group has not committed, as last asked."""
        return sum(max(0, end - self.offsets.latest.get(at, 0)) for at, end in self.feed.ends.items())

    def turn(self, *, feeding: bool = True) -> None:
        """Once around."""
        if feeding:
            self.feed.give(self.now_ms)
        else:
            self.feed.producer.poll(0)
        self.reading.read(self.now_ms)
        self.offsets.sample(self.now_ms)
        self.crew.look(self.now_ms)
        self._beat()

    def await_first_answer(self) -> None:
        """Returns once the group is at work.

        Raises:
            KafkaRefused: It isn't after two minutes.
        """
        while not self.reading.answers:
            self.turn()
            if self.now_ms > JOIN_MS_MAX:
                raise KafkaRefused(f"No worker has judged a message within {JOIN_MS_MAX // 1000} s.")

    def suffer(self, plan: Iterator[Fault], for_ms: int) -> None:
        """Injects faults, one after another, for so long; the last one is carried to its end."""
        until_ms = self.now_ms + for_ms
        self._rest(FIRST_FAULT_MS)
        for fault in plan:
            if self.now_ms >= until_ms:
                return
            place = self.crew.victim(fault)
            of_broker = fault.steps[0].do in BROKER_STEPS
            if place is None and not of_broker:
                continue
            self.happenings.append(Happening(at_ms=self.now_ms, fault=fault, place=None if of_broker else place))
            who = "" if of_broker or place is None else f": worker {place}"
            self.say(f"{len(self.happenings):3}. {fault.kind}{who}")
            for step in fault.steps:
                self._rest(step.after_ms)
                if (deed := BROKER_STEPS.get(step.do)) is not None:
                    self._beside(deed)
                elif place is not None:
                    self.crew.do(step.do, place)
            self._await_work()
            self._rest(fault.rest_ms)

    def finish(self) -> None:
        """Feeds no more; returns once all is judged and committed, or after a time that should have been enough."""
        self.say("No more faults and no more messages: waiting until all is judged ...")
        until_ms = self.now_ms + FINISH_MS_MAX
        self.feed.producer.flush(FINISH_MS_MAX / 1000)
        asked = self.offsets.samples
        while self.now_ms < until_ms and (
            self.reading.answers < self.feed.owing or self.lag or self.offsets.samples < asked + 2
        ):
            self.turn(feeding=False)
        self.crew.drain()

    def close(self) -> None:
        """Lets go of workers and clients."""
        self.crew.close()
        self.offsets.close()
        self._aside.shutdown()

    def _rest(self, for_ms: int) -> None:
        until_ms = self.now_ms + for_ms
        while self.now_ms < until_ms:
            self.turn()

    def _await_work(self) -> None:
        """Returns once something is judged: a fault that meets an idle group proves little."""
        answers, until_ms = self.reading.answers, self.now_ms + AT_WORK_MS_MAX
        while self.reading.answers == answers and self.now_ms < until_ms:
            self.turn()

    def _beside(self, deed: Callable[[Broker], None]) -> None:
        """What is done to the brokers; feeding and reading go on meanwhile."""
        assert self.stage.broker is not None  # noqa: S101 - the plan holds no such fault without one
        done: Future[None] = self._aside.submit(deed, self.stage.broker)
        while not done.done():
            self.turn()
        done.result()

    def _beat(self) -> None:
        now_ms = self.now_ms
        if self.beats and now_ms - self.beats[-1].at_ms < BEAT_MS:
            return
        beat = Beat(at_ms=now_ms, fed=self.feed.owing, judged=self.reading.answers, alive=self.crew.alive)
        self.beats.append(beat)
        if now_ms - self._told_ms >= TELL_MS:
            self._told_ms = now_ms
            self.say(f"     in {beat.fed}, judged {beat.judged}, {beat.alive} workers")


def prove(
    stage: Stage, *, seconds: int, seed: int, workers: int, per_second: int, say: Callable[[str], None]
) -> Proof:
    """The whole of it.

    Args:
        stage: Where; the topics are there and empty.
        seconds: How long faults are injected.
        seed: Of the plan.
        workers: At the beginning.
        per_second: Messages.
        say: Told of each fault, and of where it stands.

    Raises:
        WorkerEnded: A worker ended as none should.
        KafkaRefused: The group does not form, or the topics can't be read at the end.
    """
    with _course(stage, workers, per_second, say) as course:
        course.await_first_answer()
        course.suffer(faults(seed, stage.times, with_broker=stage.broker is not None), seconds * 1000)
        course.finish()
    say("Reading all topics again, from the first record, at read_committed ...")
    inputs, outputs = read_topics(stage.client, inputs=[stage.names.input], outputs=stage.names.outputs)
    return Proof(
        seed=seed,
        ledger=audit(inputs, outputs),
        readers_agree=Counter(outputs) == Counter(course.reading.seen),
        went_back=course.offsets.went_back,
        samples=course.offsets.samples,
        lag=course.lag,
        happenings=course.happenings,
        beats=course.beats,
        rebalances=rebalances(stage.logs(), course.began_s),
        pause=max(course.reading.pauses.values(), key=lambda pause: pause.lasted_ms, default=None),
        restarts=course.crew.restarts,
    )


@contextmanager
def _course(stage: Stage, workers: int, per_second: int, say: Callable[[str], None]) -> Iterator[Course]:
    quiet = {"log_level": 0, **stage.client}
    producer = Producer({**quiet, "enable.idempotence": True, "linger.ms": 20})
    with open_reader(stage.client, list(stage.names.outputs.values())) as reader:
        course = Course(
            stage=stage,
            crew=Crew(stage.make, workers, say),
            feed=Feed(producer=producer, inputs=stage.inputs, per_second=per_second),
            reading=Reading(reader, stage.names),
            offsets=Offsets(stage.client, stage.names.group, stage.inputs),
            say=say,
        )
        try:
            yield course
        finally:
            course.close()
