"""The course of a proof: one loop that feeds, reads, breaks and waits.

One thread, so that the timeline is the order in which things were seen; only what is done to Kafka takes long,
and is done beside it. The ledger is asked twice: of what the concurrent reader saw while the faults went on, and of
what a reader finds at the end. Offsets say nothing of the log that they belong to, so a log of the input topic is
judged to its end and accounted for before the topic is deleted.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from worker.commands.ledger_reader import read_topics
from worker.commands.prove.cluster import Cluster
from worker.commands.prove.feed import MessageFeed, open_producer
from worker.commands.prove.observers import Accounts, CommittedOffsets, Reading, rebalances
from worker.commands.prove.plan import CREW_STEPS, Do, Fault, faults
from worker.commands.prove.processes import Crew
from worker.commands.prove.proof import Happening, Proof, Sample, Stage
from worker.errors import KafkaFatalError
from worker.kafka.reading import open_reader

if TYPE_CHECKING:
    from worker.commands.ledger import ObservedInput, ObservedOutput

BEAT_MS = 500
TELL_MS = 10_000
FIRST_FAULT_MS = 2_000
JOIN_MS_MAX = 120_000
AT_WORK_MS_MAX = 30_000
FINISH_MS_MAX = 180_000

Answer = TypeVar("Answer")


@dataclass(slots=True, kw_only=True)
class Course:
    """What is known while it goes on."""

    stage: Stage
    cluster: Cluster
    crew: Crew
    feed: MessageFeed
    reading: Reading
    offsets: CommittedOffsets
    say: Callable[[str], None]
    accounts: Accounts = field(default_factory=Accounts)
    happenings: list[Happening] = field(default_factory=list)
    beats: list[Sample] = field(default_factory=list)
    began_s: float = field(default_factory=lambda: time.time_ns() / 1e9)  # by the clock that stamps logs
    _aside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "cluster"))
    _began_ns: int = field(default_factory=time.monotonic_ns)
    _told_ms: int = 0
    _feeding: bool = True

    @property
    def now_ms(self) -> int:
        """Since the beginning."""
        return (time.monotonic_ns() - self._began_ns) // 1_000_000

    @property
    def lag(self) -> int:
        """Messages that Kafka has and the group has not committed, as last asked."""
        return sum(max(0, end - self.offsets.latest.get(at, 0)) for at, end in self.feed.ends.items())

    def turn(self) -> None:
        """Once around."""
        if self._feeding:
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
            KafkaFatalError: It isn't after two minutes.
        """
        while not self.reading.answers:
            self.turn()
            if self.now_ms > JOIN_MS_MAX:
                raise KafkaFatalError(f"No worker has judged a message within {JOIN_MS_MAX // 1000} s.")

    def inject_faults(self, plan: Iterator[Fault], for_ms: int) -> None:
        """Injects faults, one after another, for so long; the last one is carried to its end."""
        until_ms = self.now_ms + for_ms
        self._rest(FIRST_FAULT_MS)
        for fault in plan:
            if self.now_ms >= until_ms:
                return
            of_kafka = fault.steps[0].do not in CREW_STEPS
            place = None if of_kafka else self.crew.victim(fault)
            if place is None and not of_kafka:
                continue
            self.happenings.append(Happening(at_ms=self.now_ms, fault=fault, place=place))
            who = "" if place is None else f": worker {place}"
            self.say(f"{len(self.happenings):3}. {fault.kind}{who}")
            for step in fault.steps:
                self._rest(step.after_ms)
                if place is None:
                    self._do_to_kafka(step.do, fault.choice)
                else:
                    self.crew.do(step.do, place)
            self._await_work()
            self._rest(fault.rest_ms)

    def finish(self) -> None:
        """Feeds no more; returns once all is judged and committed, or after a time that should have been enough."""
        self.say("No more faults and no more messages: waiting until all is judged ...")
        self._judge_all()
        self.crew.drain()

    def read_all(self) -> "tuple[list[ObservedInput], list[ObservedOutput]]":
        """Everything in the topics, by a reader of its own; waits for it."""
        names = self.stage.names
        return read_topics(self.stage.client, inputs=[names.input], outputs=names.outputs)

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

    def _judge_all(self) -> None:
        """Feeds no more, and waits as ``finish`` does."""
        self._feeding = False
        until_ms = self.now_ms + FINISH_MS_MAX
        self.feed.producer.flush(FINISH_MS_MAX / 1000)
        asked = self.offsets.samples
        while self.now_ms < until_ms and (
            self.reading.answers < self.feed.owing or self.lag or self.offsets.samples < asked + 2
        ):
            self.turn()

    def _do_to_kafka(self, do: Do, choice: float) -> None:
        """A step of a fault, and what it means for the accounts."""
        if do is Do.DELETE:
            self._judge_all()
            self.accounts.close_log(*self._beside(self.read_all))
        for told in self._beside(lambda: self.cluster.do(do, choice)):
            self.feed.note(told)
        if do is Do.CREATE:
            self.feed.begin_log(open_producer(self.stage.client))
            self._feeding = True
        if do in {Do.CREATE, Do.COMMIT, Do.ABORT}:
            self.reading.begin_anew(self.now_ms)

    def _beside(self, deed: Callable[[], Answer]) -> Answer:
        """What takes long; feeding and reading go on meanwhile."""
        done: Future[Answer] = self._aside.submit(deed)
        while not done.done():
            self.turn()
        return done.result()

    def _beat(self) -> None:
        now_ms = self.now_ms
        if self.beats and now_ms - self.beats[-1].at_ms < BEAT_MS:
            return
        beat = Sample(at_ms=now_ms, fed=self.feed.owing, judged=self.reading.answers, alive=self.crew.alive)
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
        UnexpectedExitError: A worker ended as none should.
        KafkaFatalError: The group does not form, or the topics can't be read at the end.
    """
    with _course(stage, workers, per_second, say) as course:
        course.await_first_answer()
        course.inject_faults(faults(seed, stage.times, with_broker=stage.broker is not None), seconds * 1000)
        course.finish()
    say("Reading all topics again, from the first record, at read_committed ...")
    inputs, outputs = course.read_all()
    course.accounts.close_log(inputs, outputs)
    return Proof(
        seed=seed,
        ledger=course.accounts.ledger,
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
    with open_reader(stage.client, list(stage.names.outputs.values())) as reader:
        course = Course(
            stage=stage,
            cluster=Cluster(stage),
            crew=Crew(stage.make, workers, say),
            feed=MessageFeed(producer=open_producer(stage.client), inputs=stage.inputs, per_second=per_second),
            reading=Reading(reader, stage.names),
            offsets=CommittedOffsets(stage.client, stage.names.group, stage.inputs),
            say=say,
        )
        try:
            yield course
        finally:
            course.close()
