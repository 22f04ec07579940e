"""`labels join` on a real Kafka: decisions become labelled texts, and no text is printed."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat
from tests.worker_process import STUB_COMMAND, workers
from worker.commands.evaluate.labelled_texts import read_json_lines
from worker.errors import ExitCode
from worker.kafka.topics import TopicSpec, create_topics
from worker.records import Topic

pytestmark = pytest.mark.kafka

WORD = "unprintable"  # in every text


def join(scene: KafkaEnv, *arguments: str) -> tuple[int, str]:
    code, printed = scene.run_command("labels", "join", *arguments)
    assert WORD not in printed
    return code, printed


def source(topic: str, partition: int, offset: int, **more: int) -> dict[str, Any]:
    return {"topic": topic, "partition": partition, "offset": offset, **more}


def test_decisions_by_verdict_and_by_source_become_the_file_that_evaluate_reads(
    scene: KafkaEnv, tmp_path: Path
) -> None:
    [topic] = scene.inputs
    # Far apart, so that the command must jump.
    scene.send_to(0, [chat(f"{WORD} {number}") for number in range(1500)])
    array = json.dumps([{"text": f"{WORD} first"}, {"text": f"{WORD} second", "body": 1}]).encode()
    scene.send_to(1, [array, b"not JSON", None])
    lenient = {"DEAD_LETTER__INPUT_SHARE_MAX": "1"}
    with workers(tmp_path, (*STUB_COMMAND, "--until-end"), name="stub") as start:
        worker = start(scene.environ(**lenient))
        assert worker.end() == ExitCode.DONE, worker.said
    verdicts = [json.loads(message.value() or b"") for message in scene.read(Topic.VERDICT)]
    ids = {
        (one["source"]["partition"], one["source"]["offset"], one["source"].get("item")): one["verdict_id"]
        for one in verdicts
    }
    admin, below = AdminClient(scene.client), TopicPartition(topic, 0, 10)
    admin.delete_records([below])[below].result(KAFKA_S_MAX)
    decisions = [
        {"verdict_id": ids[0, 20, None], "labels": {"hate": True}},
        {"verdict_id": ids[0, 1400, None], "labels": {"hate": False}, "group": "thread-1"},
        {"verdict_id": ids[1, 0, 1], "unsafe": False, "language": "en"},
        {"source": source(topic, 0, 700), "labels": {"privacy": True}},
        {"source": source(topic, 1, 0, item=0), "labels": {"privacy": False}},
        {"verdict_id": ids[0, 3, None], "labels": {"hate": True}},  # deleted by now
        {"verdict_id": "f" * 32, "labels": {"hate": True}},
        {"source": source(topic, 0, 9999), "unsafe": True},
        {"source": source(topic, 1, 1), "unsafe": True},
        {"source": source(topic, 0, 30, timestamp_ms=1), "unsafe": True},
        {"source": source("another-topic", 0, 30), "unsafe": True},
        {"source": source(topic, 0, 31), "labels": {"rudeness": True}},
    ]
    overturned, labelled = tmp_path / "overturned.jsonl", tmp_path / "labelled.jsonl"
    overturned.write_text("".join(f"{json.dumps(one)}\n" for one in decisions))
    code, printed = join(scene, "--overturned", str(overturned), "--write", str(labelled))
    assert code == ExitCode.DONE, printed
    found = {one.text: one for one in read_json_lines(labelled)}
    assert {text: one.labels for text, one in found.items()} == {
        f"{WORD} 20": {"hate": True},
        f"{WORD} 1400": {"hate": False},
        f"{WORD} 700": {"privacy": True},
        f"{WORD} first": {"privacy": False},
        f"{WORD} second": {},
    }
    assert (found[f"{WORD} 1400"].group, found[f"{WORD} second"].language) == ("thread-1", "en")
    assert stat.S_IMODE(labelled.stat().st_mode) == 0o600
    assert f"11 decisions, 5 labelled texts written to {labelled} (mode 0600)\n" in printed
    for reason, example in {
        "expired": f"{topic}:0:3",
        "unknown_verdict": "f" * 32,
        "no_record": f"{topic}:0:9999",
        "no_message": f"{topic}:1:1",
        "another_record": f"{topic}:0:30",
        "other_topic": "another-topic:0:30",
    }.items():
        assert f"1 not joined, {reason}: " in printed
        assert f"For example {example}\n" in printed
    assert f"{overturned}:12: labels.rudeness" in printed


def test_decisions_and_verdicts_may_be_topics_and_nothing_joined_is_not_a_success(
    scene: KafkaEnv, tmp_path: Path
) -> None:
    [topic] = scene.inputs
    scene.send([chat(f"{WORD} {number}") for number in range(6)])
    decisions = f"{scene.group}.decisions"
    create_topics(scene.client, [TopicSpec(name=decisions, partitions=2)])
    producer = Producer(scene.client)
    for number in range(2):
        decision = {"source": source(topic, 2, 1), "labels": {"hate": number == 1}}
        producer.produce(decisions, json.dumps(decision), partition=0)
    producer.produce(decisions, b"nonsense", partition=1)
    assert producer.flush(KAFKA_S_MAX) == 0
    labelled = tmp_path / "labelled.jsonl"
    code, printed = join(scene, "--overturned", decisions, "--write", str(labelled))
    assert code == ExitCode.DONE, printed
    assert [(one.text, one.labels) for one in read_json_lines(labelled)] == [(f"{WORD} 5", {"hate": True})]
    assert "1 decisions were replaced by a later one" in printed
    assert f"  {decisions}:1:0: is not JSON" in printed
    (tmp_path / "unknown.jsonl").write_text('{"verdict_id": "0", "unsafe": true}\n')
    code, printed = join(scene, "--overturned", str(tmp_path / "unknown.jsonl"), "--write", str(labelled))
    assert (code, "1 not joined, unknown_verdict" in printed) == (ExitCode.OTHER, True), printed
    (tmp_path / "wrong.jsonl").write_text("nonsense\n")
    code, printed = join(scene, "--overturned", str(tmp_path / "wrong.jsonl"), "--write", str(labelled))
    assert (code, "1 are not decisions" in printed) == (ExitCode.OTHER, True), printed
    code, printed = join(scene, "--overturned", "no-such-topic", "--write", str(labelled))
    assert (code, "Topic no-such-topic does not exist" in printed) == (ExitCode.KAFKA, True), printed
