"""The real loop on the fake log, with a simulated clock: any order of events, and nothing lost or doubled.

Each seed is a whole life: members join and leave, die between two calls, transactions commit, abort, or end with
the answer lost; the threads finish when the seed says so. ``SEEDS`` of them run here.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.fake_log import FakeCluster, FakeLog, Fate
from worker.batching import Bounds, Intake
from worker.dead_letter_share import DeadLetterShare, ShareBounds
from worker.loop import Loop, Pace
from worker.records import Fault, Fetched, Message, Output, Partition, Record, Result, Scores, Topic

SEEDS = 1500
PARTITIONS = [Partition("messages", number) for number in range(3)]


class Deferred(Executor):
    """Does the work when it is told to, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def step(self) -> None:
        """Finishes the oldest, if any."""
        while self._waiting:
            future, work = self._waiting.pop(0)
            if future.set_running_or_notify_cancel():
                future.set_result(work())
                return


class Device:
    """Scores a text by its first token; some texts break it."""

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores | Fault]:
        return [
            Fault(reason="model_failed", message="This text breaks the model.")
            if tokens[0] % 11 == 0
            else np.full(12, tokens[0] % 2, np.float32)
            for tokens in token_lists
        ]


def prepare(chunk: Sequence[Fetched]) -> list[Record]:
    """A tombstone, a fault, a blank text, or a text of some tokens: as the value says."""
    records = []
    for one in chunk:
        content: Message | Fault | None = None
        if one.value == b"bad":
            content = Fault(reason="not_json", message="It is no JSON.")
        elif one.value is not None:
            number = int(one.value)
            content = Message(
                message_id=str(number),
                channel_id=None,
                user_id=None,
                sent_at=None,
                characters=number,
                tokens=[number] * (number % 7),
                truncated=False,
            )
        records.append(Record(source=one, content=content))
    return records


def judge(results: Sequence[Result], _rejected: Collection[tuple[Partition, int]]) -> list[Output]:
    """A verdict or a dead letter, and an alert when the scores say so."""
    outputs: list[Output] = []
    for result in results:
        source = result.record.source
        if result.record.content is None:
            continue
        dead = isinstance(result.record.content, Fault) or isinstance(result.scores, Fault)
        topics = [Topic.DEAD_LETTER if dead else Topic.VERDICT]
        if isinstance(result.scores, np.ndarray) and result.scores[0] > 0.5:
            topics.append(Topic.ALERT)
        outputs += [Output(topic=topic, source=source, key=None, value=None, headers=()) for topic in topics]
    return outputs


@dataclass(slots=True)
class Worker:
    """One process."""

    log: FakeLog
    loop: Loop
    preparer: Deferred
    device: Deferred


@dataclass(slots=True)
class Life:
    """A group of workers, from the first message to the last verdict."""

    seed: int
    now_ms: int = 0
    cluster: FakeCluster = field(default_factory=FakeCluster)
    workers: list[Worker] = field(default_factory=list)
    dice: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.dice.seed(self.seed)
        self.cluster.inputs = {partition: [] for partition in PARTITIONS}

    def start(self) -> None:
        """One more worker."""
        log, preparer, device = self.cluster.join(), Deferred(), Deferred()
        loop = Loop(
            log=log,
            prepare=prepare,
            scorer=Device(),
            judge=judge,
            share=DeadLetterShare(ShareBounds(model_share_max=1, input_share_max=1, window_records=100)),
            bounds=Bounds(records_max=4, tokens_max=12, wait_ms_max=5),
            intake=Intake(records_max=12, bytes_max=1000),
            pace=Pace(commit_ms_max=20, idle_ms=0, busy_ms=0),
            clock=lambda: self.now_ms,
            preparer=preparer,
            device=device,
        )
        self.workers.append(Worker(log, loop, preparer, device))

    def kill(self) -> None:
        """Between any two calls, with whatever is in its hands."""
        worker = self.workers.pop(self.dice.randrange(len(self.workers)))
        self.cluster.leave(worker.log)

    def produce(self) -> None:
        """A message, a tombstone, or something broken."""
        kind = self.dice.random()
        value = None if kind < 0.1 else b"bad" if kind < 0.2 else str(self.dice.randrange(100)).encode()
        self.cluster.produce(self.dice.choice(PARTITIONS), value)

    def turn(self, worker: Worker) -> None:
        """The worker's threads get on, each as far as it may be."""
        for thread in (worker.preparer, worker.device):
            if self.dice.random() < 0.6:
                thread.step()
        worker.loop.turn()

    def drain(self) -> None:
        """A SIGTERM; the device goes on while the owner waits."""
        worker = self.workers.pop(self.dice.randrange(len(self.workers)))
        self.cluster.fate = lambda: Fate.COMMITTED
        # The owner would wait for the device's thread: here it has done its work by then.
        worker.device.step()
        worker.device.step()
        worker.loop.drain(self.now_ms + 1)
        self.cluster.leave(worker.log)

    def calm(self) -> None:
        """No more faults: what is left gets judged."""
        self.cluster.fate = lambda: Fate.COMMITTED
        if not self.workers:
            self.start()
        for _ in range(2000):
            if all(self.cluster.committed.get(p, 0) == len(self.cluster.inputs[p]) for p in PARTITIONS):
                return
            self.now_ms += 3
            for worker in self.workers:
                self.turn(worker)
        raise AssertionError(f"seed {self.seed}: the group stands still")

    def live(self) -> None:
        """Any order of events."""
        for _ in range(self.dice.randrange(20, 120)):
            self.now_ms += self.dice.choice([0, 1, 5, 30])
            self.cluster.fate = lambda: self.dice.choices(list(Fate), [6, 1, 1, 1])[0]
            event = self.dice.random()
            if event < 0.3:
                self.produce()
            elif event < 0.36 and len(self.workers) < 3:
                self.start()
            elif event < 0.39 and self.workers:
                self.kill()
            elif event < 0.41 and self.workers:
                self.drain()
            elif self.workers:
                self.turn(self.dice.choice(self.workers))

    def check(self) -> None:
        """Each input that owes something has it once; alerts are exactly the flagged; order is kept."""
        owed = {
            (partition, offset): value
            for partition, values in self.cluster.inputs.items()
            for offset, value in enumerate(values)
            if value is not None
        }
        paid = [
            (output.source.partition, output.source.offset)
            for output in self.cluster.outputs
            if output.topic is not Topic.ALERT
        ]
        assert Counter(paid) == Counter(dict.fromkeys(owed, 1)), f"seed {self.seed}"
        for partition in PARTITIONS:
            offsets = [offset for where, offset in paid if where == partition]
            assert offsets == sorted(offsets), f"seed {self.seed}"
        alerts = [o.source.offset for o in self.cluster.outputs if o.topic is Topic.ALERT]
        assert len(alerts) == sum(_flagged(value) for value in owed.values()), f"seed {self.seed}"


def _flagged(value: bytes) -> bool:
    if value == b"bad":
        return False
    number = int(value)
    return number % 7 != 0 and number % 11 != 0 and number % 2 == 1


@pytest.mark.parametrize("block", range(10))
def test_whatever_happens_each_message_is_judged_once(block: int) -> None:
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        life = Life(seed)
        life.live()
        life.calm()
        life.check()
