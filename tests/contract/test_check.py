"""`check` as a whole: a good Kafka and a good model, wrong settings, an unreachable broker, a missing model."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Consumer

from tests.check_command import Outcome, readable_records, run_check, send, settings_for
from tests.conftest import Topics, new_topic_names
from tests.kafka_env import group_ids
from worker import wiring
from worker.classifier import Classifier
from worker.commands.calibrate.drift_reference import drift_reference
from worker.errors import ExitCode
from worker.moderation.drift_reference import ReferenceModel
from worker.settings import load_settings

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]


def test_a_good_kafka_and_a_good_model_pass_and_nothing_is_left_behind(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    topics = fresh_topics(partitions=2)
    send(bootstrap_servers, topics.input, committed=3, partition=1)
    settings = settings_for(bootstrap_servers, topics, WORKER_MODEL__PATH="demo")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "check"],
        cwd=ROOT,
        env=bare | settings,
        capture_output=True,
        check=False,
        timeout=120,
    )
    outcome = Outcome(code=ExitCode(done.returncode), screen=done.stdout.decode())
    assert outcome.code is ExitCode.DONE, outcome.screen
    assert set(outcome.marks) == {"✓"}
    assert outcome.line(f"topic {topics.input}") == f"✓ topic {topics.input}: partitions: 2"
    # Three messages with their marker, and three aborted messages with their marker.
    assert "messages: 8 at most" in outcome.line("backlog")
    newest = outcome.line(f"newest records of {topics.input}")
    assert newest.endswith("of 3: 3 judged")
    assert "messages per second" in outcome.line("model")
    assert "hours at" in outcome.line("time for the backlog")
    assert "\x1b" not in outcome.screen
    group = settings["WORKER_KAFKA__GROUP_ID"]
    assert group not in group_ids(bootstrap_servers)
    assert [
        readable_records(bootstrap_servers, one) for one in (topics.verdicts, topics.alerts, topics.dead_letters)
    ] == [
        0,
        0,
        0,
    ]


def test_a_live_member_of_the_group_keeps_its_partitions(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    send(bootstrap_servers, topics.input, committed=1)
    settings = settings_for(bootstrap_servers, topics, WORKER_KAFKA__GROUP_INSTANCE_ID="one")
    changes: list[str] = []
    config = {"bootstrap.servers": bootstrap_servers, "group.id": settings["WORKER_KAFKA__GROUP_ID"]}
    member = Consumer({**config, "group.instance.id": "one", "auto.offset.reset": "earliest"})
    member.subscribe(
        [topics.input],
        on_assign=lambda *_: changes.append("assigned"),
        on_revoke=lambda *_: changes.append("revoked"),
    )
    first = member.poll(30)
    assert first is not None
    assert first.error() is None
    assert run_check(settings, tmp_path).marks.startswith("✓" * 17)
    send(bootstrap_servers, topics.input, committed=1)
    second = member.poll(30)
    assert second is not None
    assert second.error() is None
    assert changes == ["assigned"]
    member.close()


def test_a_missing_model_gives_exit_code_4(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    outcome = run_check(settings_for(bootstrap_servers, fresh_topics()), tmp_path)
    assert outcome.code is ExitCode.MODEL
    assert outcome.line("model").startswith("✗ model: WORKER_MODEL__PATH")
    assert "model fetch" in outcome.line("model")
    assert outcome.marks == "✓" * 19 + "✗-"


def test_a_drift_reference_of_another_model_is_found_before_the_worker_starts(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], classifier: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "drift.json"
    settings = settings_for(
        bootstrap_servers, fresh_topics(), WORKER_MODEL__PATH="demo", WORKER_DRIFT__REFERENCE=str(path)
    )
    path.touch()
    text = wiring.reference_text(load_settings(settings).settings)
    for revision, mark, code in (
        ("another", "✗", ExitCode.CONFIGURATION),
        (classifier.identity.revision, "✓", ExitCode.DONE),
    ):
        model = ReferenceModel(name="demo", revision=revision, dtype="float32")
        scores = np.linspace(0, 1, 1200, dtype=np.float32).reshape(100, 12)
        path.write_text(drift_reference(scores, model, text).model_dump_json(by_alias=True))
        outcome = run_check(settings, tmp_path)
        assert outcome.line("drift reference").startswith(f"{mark} drift reference: "), outcome.screen
        assert outcome.code is code


@pytest.mark.parametrize("content", [None, "{}", "no JSON"], ids=["missing", "incomplete", "no JSON"])
def test_a_drift_reference_that_is_missing_or_broken_is_a_wrong_setting_even_if_nothing_else_works(
    content: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "drift.json"
    if content is not None:
        path.write_text(content)
    outcome = run_check(settings_for("127.0.0.1:1", new_topic_names(), WORKER_DRIFT__REFERENCE=str(path)), tmp_path)
    assert outcome.code is ExitCode.CONFIGURATION
    assert "    WORKER_DRIFT__REFERENCE: got '/" in outcome.screen
    assert outcome.marks == "✗" + "-" * 7


def test_an_unreachable_broker_is_reported_and_the_items_that_need_it_are_skipped(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound, but it does not listen
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        outcome = run_check(settings_for(address, new_topic_names()), tmp_path)
    assert outcome.code is ExitCode.KAFKA
    assert outcome.line("broker").startswith("✗")
    assert "WORKER_KAFKA__BOOTSTRAP_SERVERS" in outcome.screen
    assert outcome.line("transaction") == "- transaction: skipped, because of: broker"
    assert outcome.line("model").startswith("✗")


def test_all_wrong_settings_are_listed_and_all_other_items_are_skipped(tmp_path: Path) -> None:
    outcome = run_check({"WORKER_KAFKA__SESSION_TIMEOUT_MS": "x", "WORKER_TYPO": "1"}, tmp_path)
    assert outcome.code is ExitCode.CONFIGURATION
    for variable in (
        "WORKER_KAFKA__SESSION_TIMEOUT_MS",
        "WORKER_TYPO",
        "WORKER_KAFKA__BOOTSTRAP_SERVERS",
        "WORKER_MODEL__PATH",
    ):
        assert f"    {variable}: got" in outcome.screen
    assert outcome.marks == "✗" + "-" * 7


def test_a_property_that_librdkafka_rejects_is_a_wrong_setting_and_its_value_is_not_printed(tmp_path: Path) -> None:
    properties = '{"compression.type": "hunter2"}'
    outcome = run_check(
        settings_for("127.0.0.1:1", new_topic_names(), WORKER_KAFKA__PROPERTIES=properties), tmp_path
    )
    assert outcome.code is ExitCode.CONFIGURATION
    assert "compression" in outcome.line("settings")
    assert "hunter2" not in outcome.screen


def test_settings_that_send_a_password_in_clear_text_are_named(tmp_path: Path) -> None:
    login_by_plain = {
        "WORKER_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "WORKER_KAFKA__SASL_MECHANISM": "PLAIN",
        "WORKER_KAFKA__SASL_USERNAME": "worker",
        "WORKER_KAFKA__SASL_PASSWORD": "hunter2",
    }
    outcome = run_check(settings_for("127.0.0.1:1", new_topic_names(), **login_by_plain), tmp_path)
    assert outcome.line("settings") == "✓ settings: valid"
    assert (
        "    WORKER_KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT with WORKER_KAFKA__SASL_MECHANISM=PLAIN"
        in outcome.screen
    )
    assert "hunter2" not in outcome.screen


def test_an_input_topic_without_a_record_is_right(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    outcome = run_check(settings_for(bootstrap_servers, topics), tmp_path)
    assert outcome.line(f"newest records of {topics.input}").endswith("there are none yet")
