"""The real loop while its owner is busy: the device goes on with full batches that wait for it."""

from collections.abc import Sequence
from threading import Event

import orjson

from tests.fake_cluster import FakeCluster
from tests.fake_log import join
from worker import loop_wiring
from worker.commands.prove.stub_model import StubModel
from worker.loop import Loop
from worker.records import Partition
from worker.scores import Scores
from worker.settings import load_settings

BATCH = 1_024
BATCHES_WHILE_BUSY = 6
MESSAGES = 10 * BATCH
CHAT = Partition("messages", 0)
DEADLINE_S = 60


class Counting(StubModel):
    """Scores when it may, counts the texts, and tells when it has scored some full batches."""

    def __init__(self) -> None:
        self.may_score, self.has_scored = Event(), Event()
        self.texts = 0

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        self.may_score.wait()
        self.texts += len(token_lists)
        if self.texts >= BATCHES_WHILE_BUSY * BATCH:
            self.has_scored.set()
        return super().score(token_lists)


def full_loop(cluster: FakeCluster, model: Counting) -> Loop:
    """Return a loop with as many messages in memory as it holds, of which the model has scored none."""
    cluster.inputs = {CHAT: []}
    for number in range(MESSAGES):
        cluster.produce(CHAT, orjson.dumps({"text": f"message {number}"}), 0)
    settings = load_settings({"WORKER_BATCH__RECORDS_MAX": str(BATCH), "WORKER_CACHE__BYTES_MAX": "0"}).settings
    loop = loop_wiring.open_loop(settings, model, join(cluster, "worker"))
    for _ in range(200):
        loop.turn()
    return loop


def test_the_device_scores_full_batches_while_the_owner_does_something_else() -> None:
    cluster, model = FakeCluster(), Counting()
    loop = full_loop(cluster, model)
    model.may_score.set()
    assert model.has_scored.wait(DEADLINE_S)  # without a turn of the owner
    while cluster.committed.get(CHAT, 0) < MESSAGES:
        loop.turn()


def test_the_device_does_not_score_batches_that_are_read_again() -> None:
    cluster, model = FakeCluster(), Counting()
    loop = full_loop(cluster, model)
    loop.read_again()
    model.may_score.set()
    while cluster.committed.get(CHAT, 0) < MESSAGES:
        loop.turn()
    assert model.texts <= MESSAGES + BATCH  # one batch had begun
