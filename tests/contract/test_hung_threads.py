"""A worker with a hung thread, on a real Kafka: it ends, logs where it hung, and loses nothing."""

import sys
from pathlib import Path

import pytest

from tests.kafka_env import KafkaEnv, chat
from tests.worker_process import Start, WorkerProcess
from worker.errors import ExitCode

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

# The stub for the model. It hangs in the thread that the variable HANGS names.
HANGING = """
import os, threading
from worker import wiring
from worker.commands.prove.stub_model import StubModel, run_with_model
from worker.watchdog import Watchdog

wiring.PREPARE_MS_MAX = 1000

class Hanging(StubModel):
    def encode(self, texts):
        if os.environ["HANGS"] == "preparer":
            threading.Event().wait()
        return super().encode(texts)

    def score(self, token_lists):
        if os.environ["HANGS"] == "device":
            threading.Event().wait()
        return super().score(token_lists)

run_with_model(Watchdog(), lambda *_: Hanging())
"""


HUNG = {
    "preparer": ("decoding and tokenising messages", ExitCode.OTHER),
    "device": ("scoring a batch", ExitCode.MODEL),
}


@pytest.mark.parametrize("thread", HUNG)
def test_a_worker_with_a_hung_thread_ends_and_the_next_worker_judges_its_messages(
    scene: KafkaEnv, start_stub: Start, tmp_path: Path, thread: str
) -> None:
    work, code = HUNG[thread]
    scene.send([chat(f"message {number}") for number in range(100)])
    # A static member: the next worker gets the partitions without waiting for the session time-out.
    static = {"KAFKA__GROUP_INSTANCE_ID": scene.group}
    environ = scene.environ(BATCH__SCORE_MS_MAX="1000", INPUT__CHARACTERS_MAX="1000", **static)
    hung = WorkerProcess(tmp_path / "hung", {**environ, "HANGS": thread}, [sys.executable, "-c", HANGING])
    try:
        assert hung.end() == code, hung.said
    finally:
        hung.kill()
    assert f"the {thread} thread has been in {work} for" in hung.said
    assert f"thread {thread}_0:" in hung.said
    assert "message 7" not in hung.said
    worker = start_stub(scene.environ(**static))
    scene.wait_until_caught_up(worker)
    worker.drain()
    ledger = scene.ledger()
    assert ledger.clean, ledger
    assert ledger.verdicts == 100
