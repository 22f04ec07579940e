"""The experiment of a proof: feed messages, inject faults, observe what comes out, and audit it.

One thread does all of it in a loop, so the timeline is the order in which things were observed. Only the calls to
Kafka that take long are made on a second thread. Two independent accounts must agree: the records that a reader saw
during the faults, and the records that a reader finds at the end.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from worker.commands.ledger_reader import read_topics
from worker.commands.prove.environment import Environment
from worker.commands.prove.feed import MessageFeed, open_producer
from worker.commands.prove.kafka_faults import KafkaFaults
from worker.commands.prove.messages import messages_of
from worker.commands.prove.observers import (
    CommittedOffsets,
    LedgerByLog,
    OutputObserver,
    Sample,
    assignment_times_ms,
)
from worker.commands.prove.plan import WORKER_ACTIONS, Action, Fault, Timeouts, faults
from worker.commands.prove.processes import WorkerPool
from worker.commands.prove.proof import InjectedFault, Proof
from worker.errors import ExitCode, KafkaFatalError
from worker.kafka.topic_reader import open_reader
from worker.moderation.shapes import compile_shape, load_shape

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from worker.commands.ledger import ObservedInput, ObservedOutput

SAMPLE_EVERY_MS = 500
REPORT_EVERY_SAMPLES = 20
FIRST_FAULT_MS = 2_000
JOIN_MS_MAX = 120_000
WORK_MS_MAX = 30_000
FINISH_MS_MAX = 180_000

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofOptions:
    """What the user chooses.

    Attributes:
        seconds: How long faults are injected.
        seed: The seed of the plan of faults.
        workers: How many workers there are at the beginning.
        per_second: Messages per second.
    """

    seconds: int
    seed: int
    workers: int
    per_second: int


def prove(environment: Environment, timeouts: Timeouts, options: ProofOptions, say: Callable[[str], None]) -> Proof:
    """Run the experiment and audit it.

    Args:
        environment: Empty topics, and a way to start workers.
        timeouts: The workers' time-outs.
        options: What the user chooses.
        say: Prints a line about each fault, and about the state every ten seconds.

    Raises:
        UnexpectedExitError: A worker ended with an exit code that is not allowed.
        KafkaFatalError: The group does not form, or the topics can't be read at the end.
    """
    with _running_experiment(environment, options, say) as experiment:
        experiment.await_first_verdict()
        plan = faults(options.seed, timeouts, with_broker=environment.broker is not None)
        experiment.inject_faults(plan, for_ms=options.seconds * 1000)
        experiment.finish()
    say("Reading all topics again, from the first record, at read_committed ...")
    return experiment.account(options.seed)


class Experiment:
    """The parts of an experiment, and one loop over them.

    Args:
        environment: Empty topics, and a way to start workers.
        options: What the user chooses.
        reader: A read_committed reader of the output topics.
        say: Prints a line to people.
    """

    def __init__(
        self, environment: Environment, options: ProofOptions, reader: "Consumer", say: Callable[[str], None]
    ) -> None:
        self._environment = environment
        self._say = say
        self._began_s = time.time_ns() / 1e9  # by the clock of the logs
        self._began_ns = time.monotonic_ns()
        self._workers = WorkerPool(
            environment.start_worker, range(options.workers), restart_on={ExitCode.KAFKA}, say=say
        )
        self._read = compile_shape(load_shape(environment.shape))
        self._feed = MessageFeed(
            producer=open_producer(environment.client),
            topic=environment.names.input,
            per_second=options.per_second,
            record=messages_of(environment.shape),
            read=self._read,
        )
        self._feeding = True
        self._outputs = OutputObserver(reader, environment.names)
        self._offsets = CommittedOffsets(environment.client, environment.names.group, environment.inputs)
        self._ledger = LedgerByLog()
        self._kafka_faults = KafkaFaults(environment)
        self._second_thread = ThreadPoolExecutor(1, "kafka-faults")
        self._injected: list[InjectedFault] = []
        self._samples: list[Sample] = []

    def await_first_verdict(self) -> None:
        """Wait until the group works.

        Raises:
            KafkaFatalError: The group does not work within two minutes.
        """
        while not self._outputs.judged:
            self._step()
            if self._now_ms > JOIN_MS_MAX:
                raise KafkaFatalError(f"No worker has judged a message within {JOIN_MS_MAX // 1000} s.")

    def inject_faults(self, plan: Iterator[Fault], *, for_ms: int) -> None:
        """Inject the faults of the plan one after another for this time. Finish the last one."""
        until_ms = self._now_ms + for_ms
        self._continue_for(FIRST_FAULT_MS)
        for fault in plan:
            if self._now_ms >= until_ms:
                return
            strikes_worker = fault.steps[0].action in WORKER_ACTIONS
            slot = self._workers.target(fault) if strikes_worker else None
            if strikes_worker and slot is None:
                continue
            self._inject(fault, slot)
            self._await_work()
            self._continue_for(fault.pause_ms)

    def finish(self) -> None:
        """Stop feeding, wait at most three minutes until all is judged and committed, and end the workers."""
        self._say("No more faults and no more messages: waiting until all messages are judged ...")
        self._judge_all()
        self._workers.drain()

    def account(self, seed: int) -> Proof:
        """Read all topics, audit them, and return the result."""
        inputs, outputs = self._read_all()
        self._ledger.close_log(inputs, outputs)
        pauses = self._outputs.pauses.values()
        return Proof(
            description=self._environment.description,
            seed=seed,
            ledger=self._ledger.ledger,
            readers_agree=Counter(outputs) == Counter(self._outputs.outputs),
            offset_regressions=self._offsets.regressions,
            offset_samples=self._offsets.samples,
            lag=self._lag,
            faults=self._injected,
            samples=self._samples,
            assignments_ms=assignment_times_ms(self._environment.logs(), self._began_s),
            longest_pause=max(pauses, key=lambda pause: pause.lasted_ms, default=None),
            restarts=self._workers.restarts,
        )

    def close(self) -> None:
        """Kill the workers and close the clients."""
        self._workers.close()
        self._offsets.close()
        self._second_thread.shutdown()

    @property
    def _now_ms(self) -> int:
        """Milliseconds since the beginning."""
        return (time.monotonic_ns() - self._began_ns) // 1_000_000

    @property
    def _lag(self) -> int:
        """Messages that Kafka has and the group has not committed, by the newest sample."""
        latest = self._offsets.latest
        return sum(max(0, end - latest.get(partition, 0)) for partition, end in self._feed.next_offsets.items())

    def _step(self) -> None:
        """Go once around the loop: feed, read, sample, check the workers."""
        now_ms = self._now_ms
        if self._feeding:
            self._feed.write_due(now_ms)
        else:
            self._feed.producer.poll(0)
        self._outputs.read(now_ms)
        self._offsets.sample(now_ms)
        self._workers.check(now_ms)
        if not self._samples or now_ms - self._samples[-1].at_ms >= SAMPLE_EVERY_MS:
            self._sample(now_ms)

    def _sample(self, now_ms: int) -> None:
        """Keep a sample of the state, and print every twentieth."""
        judged, working = self._outputs.judged, self._workers.working
        self._samples.append(Sample(at_ms=now_ms, owed=self._feed.owed, judged=judged, workers=working))
        if len(self._samples) % REPORT_EVERY_SAMPLES == 0:
            self._say(f"     in {self._feed.owed}, judged {judged}, {working} workers")

    def _continue_for(self, duration_ms: int) -> None:
        until_ms = self._now_ms + duration_ms
        while self._now_ms < until_ms:
            self._step()

    def _await_work(self) -> None:
        """Wait for the next verdict or dead letter: a fault that strikes an idle group proves little."""
        judged, until_ms = self._outputs.judged, self._now_ms + WORK_MS_MAX
        while self._outputs.judged == judged and self._now_ms < until_ms:
            self._step()

    def _inject(self, fault: Fault, slot: int | None) -> None:
        self._injected.append(InjectedFault(at_ms=self._now_ms, fault=fault, slot=slot))
        self._say(f"{len(self._injected):3}. {fault.kind}{'' if slot is None else f': worker {slot}'}")
        for step in fault.steps:
            self._continue_for(step.after_ms)
            if slot is None:
                self._apply_to_kafka(step.action, fault.choice)
            else:
                self._workers.apply(step.action, slot)

    def _apply_to_kafka(self, action: Action, choice: float) -> None:
        """Do a step of a fault on Kafka, and adapt feed and observers to it.

        A deleted topic takes its log with it, and outputs do not name the log of their input. So the old log is
        judged to its end and audited before the topic is deleted.
        """
        if action is Action.DELETE:
            self._judge_all()
            self._ledger.close_log(*self._on_second_thread(self._read_all))
        for message in self._on_second_thread(lambda: self._kafka_faults.apply(action, choice)):
            self._feed.count(message)
        if action is Action.CREATE:
            self._feed.begin_log(open_producer(self._environment.client))
            self._feeding = True
        if action in {Action.CREATE, Action.COMMIT, Action.ABORT}:
            self._outputs.restart_pauses(self._now_ms)

    def _on_second_thread(self, call: Callable[[], Answer]) -> Answer:
        """Make a call that takes long, and continue the loop meanwhile."""
        done: Future[Answer] = self._second_thread.submit(call)
        while not done.done():
            self._step()
        return done.result()

    def _judge_all(self) -> None:
        """Stop feeding, and wait until all messages are judged and committed, and all summaries are published.

        Wait for three minutes at most.
        """
        self._feeding = False
        until_ms = self._now_ms + FINISH_MS_MAX
        self._feed.producer.flush(FINISH_MS_MAX / 1000)
        fresh_samples = self._offsets.samples + 2  # the first of two may have been asked for before
        while self._now_ms < until_ms and (
            self._outputs.judged < self._feed.owed
            or self._lag
            or self._offsets.counting
            or self._offsets.samples < fresh_samples
        ):
            self._step()

    def _read_all(self) -> "tuple[list[ObservedInput], list[ObservedOutput]]":
        names = self._environment.names
        return read_topics(self._environment.client, inputs=[names.input], outputs=names.outputs, read=self._read)


@contextmanager
def _running_experiment(
    environment: Environment, options: ProofOptions, say: Callable[[str], None]
) -> Iterator[Experiment]:
    with open_reader(environment.client, list(environment.names.outputs.values())) as reader:
        experiment = Experiment(environment, options, reader, say)
        try:
            yield experiment
        finally:
            experiment.close()
