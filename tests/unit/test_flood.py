"""A flood of long texts on the real loop: the work that waits for the device is bounded, not only the records."""

from collections.abc import Sequence
from threading import Event

import orjson
import pytest

from tests.fake_cluster import FakeCluster
from tests.fake_log import join
from worker import loop_wiring
from worker.commands.prove.stub_model import TOKENS_MAX, StubModel
from worker.records import Partition
from worker.scores import Scores
from worker.settings import load_settings

FLOOD = 6_000


class Stopping(StubModel):
    """Scores until it is told to stop, in batches of ten of the longest texts."""

    batch_tokens_max = 10 * TOKENS_MAX

    def __init__(self) -> None:
        self.may_score = Event()
        self.may_score.set()

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        self.may_score.wait()
        return super().score(token_lists)


@pytest.mark.parametrize("records_max", [1024, 32])
def test_a_flood_of_long_texts_does_not_fill_the_memory_while_the_device_is_slow(records_max: int) -> None:
    chat, cluster = Partition("messages", 0), FakeCluster()
    cluster.inputs = {chat: []}
    for number in range(FLOOD):
        cluster.produce(chat, orjson.dumps({"text": f"{number} {'long ' * TOKENS_MAX}"}), 0)
    model = Stopping()
    settings = load_settings({"WORKER_TEXT__VIEWS": "raw", "WORKER_BATCH__RECORDS_MAX": str(records_max)}).settings
    loop = loop_wiring.open_loop(settings, model, join(cluster, "worker"))
    while cluster.committed.get(chat, 0) < 4_500:  # the first polls are as large as without a flood
        loop.turn()
    model.may_score.clear()
    for _ in range(200):
        loop.turn()
    # Four batches of ten wait, two are on the device, and some may be scored.
    assert loop.records_in_memory <= 100
    model.may_score.set()
    while cluster.committed.get(chat, 0) < FLOOD:
        loop.turn()
