"""How ``moderation-worker run`` starts, and which starts it refuses."""

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas.verdict import rfc3339
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat
from tests.worker_process import Start, WorkerProcess
from worker.errors import ExitCode
from worker.records import Partition, Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


STUB_IS_ENOUGH = {"no verdict topic", "a session beyond the broker's range", "no committed offset"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A start that cannot succeed.

    Attributes:
        environ: The worker's environment.
        code: The expected exit code.
        words: Words that the log must contain.
    """

    environ: Mapping[str, str]
    code: ExitCode
    words: Sequence[str]


def refusals(scene: KafkaEnv, servers: str) -> dict[str, Refusal]:
    """Return the refusals by cause."""
    no_input, no_verdicts = KafkaEnv(servers, "demo"), KafkaEnv(servers, "demo")
    no_input.create(without=list(no_input.inputs))
    no_verdicts.create(without=[no_verdicts.outputs[Topic.VERDICT]])
    faults = {
        "WORKER_KAFKA__INPUT_TOPICS": "not a topic",
        "WORKER_MODEL__TOKENS_MAX": "many",
        "WORKER_KAFKA__GRUOP_ID": "misspelt",
        "WORKER_POLICY__THRESHOLDS": '{"privcy": 0.5}',
    }
    too_long = {"KAFKA__SESSION_TIMEOUT_MS": "3600000", "KAFKA__MAX_POLL_INTERVAL_MS": "3600000"}
    return {
        "no settings": Refusal(
            {}, ExitCode.CONFIGURATION, ["WORKER_KAFKA__BOOTSTRAP_SERVERS: got", "WORKER_MODEL__PATH: got"]
        ),
        "four wrong settings": Refusal(
            scene.environ() | faults, ExitCode.CONFIGURATION, [f"{name}: got" for name in faults]
        ),
        "a login that would wait without end": Refusal(
            scene.environ(
                KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT",
                KAFKA__SASL_MECHANISM="OAUTHBEARER",
                KAFKA__PROPERTIES='{"sasl.oauthbearer.method": "default"}',
            ),
            ExitCode.CONFIGURATION,
            ["WORKER_KAFKA__PROPERTIES: got sasl.oauthbearer.method=default", "unsecure.jwt=false"],
        ),
        "a port that does not exist": Refusal(
            scene.environ(KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:70000"),
            ExitCode.CONFIGURATION,
            ["WORKER_KAFKA__BOOTSTRAP_SERVERS: got '127.0.0.1:70000'", "has the port '70000'"],
        ),
        "no model": Refusal(
            scene.environ(MODEL__PATH="/nowhere"), ExitCode.MODEL, ["/nowhere", "WORKER_MODEL__PATH"]
        ),
        "no input topic": Refusal(
            no_input.environ(), ExitCode.KAFKA, [*no_input.inputs, "moderation-worker topics create"]
        ),
        "no verdict topic": Refusal(
            no_verdicts.environ(),
            ExitCode.KAFKA,
            [repr(no_verdicts.outputs[Topic.VERDICT]), "moderation-worker topics create"],
        ),
        "a session beyond the broker's range": Refusal(
            scene.environ(**too_long), ExitCode.KAFKA, ["WORKER_KAFKA__SESSION_TIMEOUT_MS", "group.max.session"]
        ),
        "no committed offset": Refusal(
            scene.environ(KAFKA__AUTO_OFFSET_RESET="error"),
            ExitCode.PROTECTED,
            [*scene.inputs, "WORKER_KAFKA__AUTO_OFFSET_RESET"],
        ),
    }


def test_a_start_that_cannot_succeed_says_what_to_do(
    bootstrap_servers: str, scene: KafkaEnv, start: Start, start_stub: Start, subtests: pytest.Subtests
) -> None:
    scene.send([chat("hello")] * 9)
    expected = refusals(scene, bootstrap_servers)
    # All run together. Only those that must load a model, or read the settings as the command does, need the
    # command.
    started = {
        cause: (start_stub if cause in STUB_IS_ENOUGH else start)(refusal.environ)
        for cause, refusal in expected.items()
    }
    for cause, refusal in expected.items():
        with subtests.test(cause):
            assert started[cause].end(seconds_max=120) == refusal.code, started[cause].said
            assert [word for word in refusal.words if word not in started[cause].said] == []
            assert "Traceback" not in started[cause].said
    assert scene.committed() == {}
    assert scene.readable() == 0


def test_each_start_warns_about_settings_that_expose_the_login(scene: KafkaEnv, start: Start) -> None:
    properties = '{"enable.ssl.certificate.verification": false, "ssl.endpoint.identification.algorithm": "none"}'
    environ = scene.environ(KAFKA__SECURITY_PROTOCOL="SSL", KAFKA__PROPERTIES=properties)
    for _ in range(2):
        worker = start(environ)
        worker.wait_for("WORKER_KAFKA__PROPERTIES: enable.ssl.certificate.verification=false")
        worker.wait_for("WORKER_KAFKA__PROPERTIES: ssl.endpoint.identification.algorithm=none")
        assert "WARNING" in worker.said
        worker.kill()


def test_a_start_time_skips_the_backlog_and_the_start_is_committed_before_the_first_record(
    scene: KafkaEnv, start_stub: Start
) -> None:
    at_ms = time.time_ns() // 1_000_000 - 3_600_000
    (topic,) = scene.inputs
    producer = Producer(scene.client)
    for number in range(10):
        for partition in (0, 1):
            producer.produce(topic, chat(f"backlog {number}"), partition=partition, timestamp=at_ms - 1000)
    for number in range(5):
        producer.produce(topic, chat(f"live {number}"), partition=0, timestamp=at_ms + number)
    assert producer.flush(KAFKA_S_MAX) == 0
    worker = start_stub(scene.environ(KAFKA__AUTO_OFFSET_RESET=rfc3339(at_ms)))
    expected = {Partition(topic, 0): 15, Partition(topic, 1): 10, Partition(topic, 2): 0}
    worker.wait_until(lambda: scene.committed() == expected)
    scene.send([chat("next")] * 3)
    scene.wait_until_caught_up(worker)
    worker.drain()
    assert len(scene.read(Topic.VERDICT)) == 5 + 3


def takes_signals(worker: WorkerProcess) -> bool:
    """Return whether the worker handles signals. It must do so before it imports torch, which takes seconds."""
    if worker.pid is None:
        return False
    proc = Path(f"/proc/{worker.pid}")
    torch_is_there = "libtorch" in (proc / "maps").read_text()
    caught = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("SigCgt:"))
    # Python itself handles SIGINT.
    taken = bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    assert taken or not torch_is_there
    return taken


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells when the worker takes signals over")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_that_is_still_loading_its_model(
    scene: KafkaEnv, start: Start, number: signal.Signals
) -> None:
    worker = start(scene.environ())
    worker.wait_until(lambda: takes_signals(worker))
    worker.send(number)
    assert worker.end() == ExitCode.DONE, worker.said
    assert "looking for the model" not in worker.said
