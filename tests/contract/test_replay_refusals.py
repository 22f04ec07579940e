"""What `replay` refuses, and what it says, on a real Kafka."""

import os
import re
import subprocess
import time
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported at run time
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from tests.conftest import SecuredKafka, login
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat
from tests.replays import COMMAND, place, places, read, replay, two_workers_write
from worker.errors import ExitCode
from worker.kafka.topics import TopicSpec, create_topics

pytestmark = pytest.mark.kafka

MINUTE_MS = 60_000


def test_a_name_is_refused_for_other_topics_than_those_that_its_run_has_read(scene: KafkaEnv, copies: str) -> None:
    [topic], further = scene.inputs, f"{scene.group}.further"
    create_topics(scene.client, [TopicSpec(name=further, partitions=1)])
    scene.send([chat("message")] * 6)
    two_workers_write(scene, {0: b"[{}]", 3: b"[{}]"})
    command = ("day", "--to", copies, "--since", "1h")
    assert replay(scene, *command)[0] == ExitCode.DONE
    for options, topics in {
        ("--dead-letters", "all"): topic,
        (): f"{topic},{further}",
        ("--yes",): further,
    }.items():
        environ = {**os.environ, **scene.environ(KAFKA__INPUT_TOPICS=topics)}
        done = subprocess.run(
            [*COMMAND, *command, *options], env=environ, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == ExitCode.CONFIGURATION, done.stdout + done.stderr
        assert f"--to {copies} --since 1h from {topic}. " in done.stderr
    assert sorted(map(place, read(scene, copies))) == places(scene, [2, 2, 2])
    code, printed = replay(scene, *command)
    assert (code, "6 of 6 offsets passed" in printed) == (ExitCode.DONE, True), printed


def test_a_bad_range_a_missing_topic_and_other_options_for_the_same_name_are_refused(
    scene: KafkaEnv, copies: str
) -> None:
    [topic] = scene.inputs
    scene.send([chat("message")] * 6)

    def refusal(*arguments: str) -> tuple[int, str]:
        return replay(scene, "run", *arguments)

    for arguments, wanted, words in [
        (("--to", copies, "--offsets", f"{topic}:0:0-9"), ExitCode.CONFIGURATION, "has the offsets 0 to 1"),
        (("--to", "missing-topic", "--since", "1h"), ExitCode.KAFKA, "WORKER_KAFKA__INPUT_TOPICS=missing-topic"),
    ]:
        code, printed = refusal(*arguments)
        assert (code, words in printed) == (wanted, True), printed
    assert read(scene, copies) == []
    assert refusal("--to", copies, "--since", "1h")[0] == ExitCode.DONE
    code, printed = refusal("--to", copies, "--since", "2h")
    assert (code, f"--to {copies} --since 1h" in printed) == (ExitCode.CONFIGURATION, True), printed


def send_with_age(scene: KafkaEnv, minutes: int) -> None:
    """Send a young message, and a message of this age, to another partition."""
    [topic] = scene.inputs
    producer = Producer(scene.client)
    for partition, age in enumerate((0, minutes)):
        time_ms = time.time_ns() // 1_000_000 - age * MINUTE_MS
        producer.produce(topic, chat(f"{age} minutes old"), b"key", partition=partition, timestamp=time_ms)
    assert producer.flush(KAFKA_S_MAX) == 0


def created(scene: KafkaEnv, **settings: str) -> str:
    """Create a topic for copies that keeps a record for an hour after the record's time."""
    topic, admin = f"{scene.group}.hour", AdminClient(scene.client)
    config = {"retention.ms": "3600000", **{name.replace("_", "."): value for name, value in settings.items()}}
    admin.create_topics([NewTopic(topic, 2, config=config)])[topic].result(KAFKA_S_MAX)
    return topic


def test_copies_that_the_topic_would_not_keep_are_refused_before_anything_is_copied(scene: KafkaEnv) -> None:
    [topic] = scene.inputs
    send_with_age(scene, 120)
    hour = created(scene)
    code, printed = replay(scene, "day", "--to", hour, "--since", "3h")
    assert code == ExitCode.PROTECTED, printed
    for words in (f"'{hour}'", "retention.ms=3600000", f"{topic}:1:0, is 2.0 hours old", "kafka-configs.sh "):
        assert words in printed
    assert read(scene, hour) == []
    # The range was not stored, so another range of this name is possible.
    code, printed = replay(scene, "day", "--to", hour, "--since", "1h")
    assert (code, printed) == (ExitCode.DONE, f"1 records copied to {hour}\n")


def test_copies_that_the_topic_keeps_only_for_minutes_are_a_warning(scene: KafkaEnv) -> None:
    send_with_age(scene, 57)
    hour = created(scene)
    code, printed = replay(scene, "day", "--to", hour, "--since", "3h")
    assert code == ExitCode.DONE, printed
    assert re.search(
        r"deletes the oldest in \d\.\d minutes\. .* let the topic keep them: kafka-configs\.sh ", printed
    )
    assert len(read(scene, hour)) == 2


@pytest.mark.parametrize(
    "settings",
    [{"cleanup_policy": "compact"}, {"retention_ms": "-1"}, {"message_timestamp_type": "LogAppendTime"}],
    ids=["compacted", "kept for ever", "with the time of the copy"],
)
def test_old_copies_are_no_fault_where_kafka_does_not_delete_them_by_their_time(
    scene: KafkaEnv, settings: dict[str, str]
) -> None:
    send_with_age(scene, 120)
    hour = created(scene, **settings)
    assert replay(scene, "day", "--to", hour, "--since", "3h") == (ExitCode.DONE, f"2 records copied to {hour}\n")


def test_a_range_behind_an_open_transaction_is_refused_and_the_transaction_is_named(
    scene: KafkaEnv, copies: str
) -> None:
    [topic] = scene.inputs
    scene.send_to(0, [chat("message")] * 3)
    producer = Producer({**scene.client, "transactional.id": f"{scene.group}.input"})
    producer.init_transactions(KAFKA_S_MAX)
    producer.begin_transaction()
    producer.produce(topic, chat("hidden"), partition=0)
    assert producer.flush(KAFKA_S_MAX) == 0
    code, printed = replay(scene, "run", "--to", copies, "--offsets", f"{topic}:0:0-3")
    assert (code, "find-hanging" in printed) == (ExitCode.PROTECTED, True), printed
    code, printed = replay(scene, "run", "--to", copies, "--since", "1h")
    assert (code, "an open transaction hides the records from offset 3 on" in printed) == (ExitCode.DONE, True), (
        printed
    )
    producer.abort_transaction(KAFKA_S_MAX)
    assert sorted(map(place, read(scene, copies))) == places(scene, [3])


def test_each_missing_permission_is_named(secured_kafka: SecuredKafka) -> None:
    client: dict[str, Any] = {"bootstrap.servers": secured_kafka.scram, **login("admin", "admin")}
    scene = KafkaEnv(secured_kafka.scram, "demo", login=login("admin", "admin"))
    scene.create()
    scene.send([chat("message")] * 6)
    [topic], copies, run_id = scene.inputs, f"{scene.group}.copies", f"{scene.group}.replay.run"
    # Without DESCRIBE_CONFIGS the retention is not compared with the age of the copies.
    create_topics(client, [TopicSpec(name=copies, partitions=1, retention_ms=1)])
    admin = AdminClient(client)
    environ = {**os.environ, **scene.environ(), **secured_kafka.over_scram}

    def refusal() -> tuple[int, str]:
        command = [*COMMAND, "run", "--to", copies, "--since", "1h"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    kinds = ResourceType
    for words, (kind, name, operation) in {
        f"topic {topic} exists: grant this user READ": (kinds.TOPIC, topic, AclOperation.READ),
        f"topic {copies} exists: grant this user WRITE": (kinds.TOPIC, copies, AclOperation.WRITE),
        f"WRITE on the transactional id {run_id!r}": (kinds.TRANSACTIONAL_ID, run_id, AclOperation.WRITE),
        f"the group {run_id!r}: grant this user READ on the group": (kinds.GROUP, run_id, AclOperation.READ),
    }.items():
        code, printed = refusal()
        assert (code, words in printed) == (ExitCode.KAFKA, True), printed
        grant(admin, kind, name, operation)
    code, printed = refusal()
    assert (code, printed) == (ExitCode.DONE, f"6 records copied to {copies}\n"), printed
    assert len(read(scene, copies)) == 6


def grant(admin: AdminClient, kind: ResourceType, name: str, operation: AclOperation) -> None:
    literal, allow = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
    binding = AclBinding(kind, name, literal, "User:worker", "*", operation, allow)
    admin.create_acls([binding])[binding].result(KAFKA_S_MAX)
