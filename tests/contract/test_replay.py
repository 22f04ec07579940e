"""`replay` on a real Kafka: each record of the range is copied exactly once, whatever ends the process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported at run time
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from schemas.verdict import rfc3339
from tests.conftest import SecuredKafka, login
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat, headers_of
from tests.worker_process import STUB_COMMAND, WorkerProcess, eventually, workers
from worker.commands.replay.copies import SourceRecord, copy_of_message
from worker.commands.replay.replay_producer import ReplayProducer
from worker.errors import ExitCode, KafkaFatalError
from worker.kafka.start_confirmation import StartConfirmation
from worker.kafka.topic_reader import open_reader, read_to_end
from worker.kafka.topics import TopicSpec, create_topics
from worker.records import Partition, Topic

pytestmark = pytest.mark.kafka

COMMAND = (sys.executable, "-m", "worker", "replay")
NOW_MS = time.time_ns() // 1_000_000
MINUTE_MS = 60_000


def replay(scene: KafkaEnv, *arguments: str) -> tuple[int, str]:
    return scene.run_command("replay", *arguments)


@contextmanager
def running(folder: Path, scene: KafkaEnv, *arguments: str) -> Iterator[WorkerProcess]:
    with workers(folder, (*COMMAND, *arguments), name="replay") as start:
        yield start(scene.environ())


@pytest.fixture
def copies(scene: KafkaEnv) -> str:
    """A topic for copies, with fewer partitions than the input."""
    topic = f"{scene.group}.copies"
    create_topics(scene.client, [TopicSpec(name=topic, partitions=2)])
    return topic


def read(scene: KafkaEnv, topic: str) -> list[Message]:
    with open_reader(scene.client, [topic]) as reader:
        return list(read_to_end(reader, KAFKA_S_MAX * 1000))


def place(message: Message) -> str:
    """Return where the original is, as the headers of a copy say."""
    headers = dict(headers_of(message))
    parts = (headers[f"moderation.source.{name}"] for name in ("topic", "partition", "offset"))
    return ":".join(part.decode() for part in parts if part is not None)


def places(scene: KafkaEnv, ends: Sequence[int]) -> list[str]:
    [topic] = scene.inputs
    return sorted(f"{topic}:{number}:{offset}" for number, end in enumerate(ends) for offset in range(end))


def has_more_than(scene: KafkaEnv, copies: str, count: int) -> Callable[[], bool]:
    return lambda: len(read(scene, copies)) > count


def is_mid_range(scene: KafkaEnv, copies: str, total: int) -> bool:
    return 0 < len(read(scene, copies)) < total


def test_kill_9_in_the_middle_and_the_same_command_again_copy_each_record_exactly_once(
    scene: KafkaEnv, copies: str, tmp_path: Path
) -> None:
    scene.send([chat(f"message {number}") for number in range(3000)])
    command = ("day", "--to", copies, "--since", "1h")
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        with running(folder, scene, *command, "--per-second", "400") as process:
            process.wait_until(has_more_than(scene, copies, len(read(scene, copies)) + 200))
            process.kill()
        assert is_mid_range(scene, copies, 3000)
    scene.send([chat("too late for the range")] * 30)
    code, printed = replay(scene, *command)
    assert code == ExitCode.DONE, printed
    assert "going on with the run: " in printed
    assert sorted(map(place, read(scene, copies))) == places(scene, [1000, 1000, 1000])
    code, printed = replay(scene, *command)
    assert (code, f"0 records copied to {copies}" in printed) == (ExitCode.DONE, True), printed


def test_a_signal_stops_the_run_after_a_transaction_and_the_same_command_goes_on(
    scene: KafkaEnv, copies: str, tmp_path: Path
) -> None:
    scene.send([chat(f"message {number}") for number in range(900)])
    command = ("day", "--to", copies, "--since", "1h")
    with running(tmp_path, scene, *command, "--per-second", "100") as process:
        process.wait_until(lambda: is_mid_range(scene, copies, 900))
        process.send(signal.SIGTERM)
        assert process.end() == ExitCode.OTHER, process.said
        assert "stopped. The same command goes on where the run was" in process.said
    code, printed = replay(scene, *command)
    assert code == ExitCode.DONE, printed
    assert sorted(map(place, read(scene, copies))) == places(scene, [300, 300, 300])


def test_a_copy_has_the_key_the_value_the_time_and_the_headers_of_its_original_and_says_where_that_is(
    scene: KafkaEnv, copies: str
) -> None:
    [topic] = scene.inputs
    producer = Producer(scene.client)
    headers: list[tuple[str, str | bytes | None]] = [
        ("trace", b"1"),
        ("trace", b"\xff"),
        ("", b"empty name"),
        ("null", None),
        ("Moderation.Replay", b"forged"),
    ]
    time_ms = NOW_MS - 5 * MINUTE_MS
    producer.produce(topic, chat("hello"), b"key", partition=1, headers=headers, timestamp=time_ms)
    producer.produce(topic, None, b"tombstone", partition=2, timestamp=time_ms)
    assert producer.flush(KAFKA_S_MAX) == 0
    code, printed = replay(
        scene, "monday", "--to", copies, "--offsets", f"{topic}:1:0-0", "--offsets", f"{topic}:2:0-0"
    )
    assert code == ExitCode.DONE, printed
    first, second = sorted(read(scene, copies), key=lambda message: message.key() or b"")
    assert (first.key(), first.value(), first.timestamp()[1], first.partition()) == (
        b"key",
        chat("hello"),
        time_ms,
        1,
    )
    assert headers_of(first) == [
        ("trace", b"1"),
        ("trace", b"\xff"),
        ("", b"empty name"),
        ("null", None),
        ("moderation.replay", b"monday"),
        ("moderation.source.topic", topic.encode()),
        ("moderation.source.partition", b"1"),
        ("moderation.source.offset", b"0"),
        ("moderation.source.timestamp_ms", str(time_ms).encode()),
    ]
    assert (second.key(), second.value(), second.partition()) == (b"tombstone", None, 0)
    again = f"{scene.group}.again"
    create_topics(scene.client, [TopicSpec(name=again, partitions=2)])
    environ = {**scene.environ(), "WORKER_KAFKA__INPUT_TOPICS": copies}
    done = subprocess.run(
        [*COMMAND, "tuesday", "--to", again, "--since", "1h"],
        env={**os.environ, **environ},
        check=False,
        timeout=60,
    )
    assert done.returncode == ExitCode.DONE
    assert sorted(map(place, read(scene, again))) == [f"{topic}:1:0", f"{topic}:2:0"]  # the first originals


def test_a_time_range_begins_and_ends_with_kafkas_times(scene: KafkaEnv, copies: str) -> None:
    [topic] = scene.inputs
    producer = Producer(scene.client)
    for number in range(10):
        producer.produce(topic, chat(f"{number}"), partition=0, timestamp=NOW_MS - (10 - number) * MINUTE_MS)
    assert producer.flush(KAFKA_S_MAX) == 0
    since, until = (rfc3339(NOW_MS - minutes * MINUTE_MS) for minutes in (7, 3))
    code, printed = replay(scene, "range", "--to", copies, "--since", since, "--until", until)
    assert code == ExitCode.DONE, printed
    assert sorted(map(place, read(scene, copies))) == [f"{topic}:0:{offset}" for offset in (3, 4, 5, 6)]
    code, printed = replay(scene, "none", "--to", copies, "--since", rfc3339(NOW_MS - MINUTE_MS // 2))
    assert (code, printed) == (ExitCode.DONE, f"0 records copied to {copies}\n")


def test_aborted_records_are_not_copied_and_do_not_hold_up_the_run(scene: KafkaEnv, copies: str) -> None:
    [topic] = scene.inputs
    producer = Producer({**scene.client, "transactional.id": f"{scene.group}.input"})
    producer.init_transactions(KAFKA_S_MAX)
    for commit in (True, False):
        producer.begin_transaction()
        for number in range(10):
            producer.produce(topic, chat(f"{number}"), partition=number % 2)
        assert producer.flush(KAFKA_S_MAX) == 0
        (producer.commit_transaction if commit else producer.abort_transaction)(KAFKA_S_MAX)
    code, printed = replay(scene, "day", "--to", copies, "--since", "1h")
    assert code == ExitCode.DONE, printed
    assert sorted(map(place, read(scene, copies))) == places(scene, [5, 5])


def letters(scene: KafkaEnv, topic: str) -> list[tuple[str, Any]]:
    return [(place(message), json.loads(message.value() or b"")) for message in read(scene, topic)]


def test_dead_letters_of_a_reason_are_copied_as_their_messages_an_array_only_once(
    scene: KafkaEnv, copies: str, tmp_path: Path
) -> None:
    [topic] = scene.inputs
    array = json.dumps([{"text": "good"}, {"body": "no text"}, {"body": "no text either"}]).encode()
    scene.send_to(1, [b"not JSON", b'{"body": "lacks a text"}', chat("fine"), array])
    lenient = {"DEAD_LETTER__INPUT_SHARE_MAX": "1"}
    with workers(tmp_path, (*STUB_COMMAND, "--until-end"), name="stub") as start:
        worker = start(scene.environ(**lenient))
        assert worker.end() == ExitCode.DONE, worker.said
    assert len(scene.read(Topic.DEAD_LETTER)) == 4
    code, printed = replay(scene, "no-text", "--to", copies, "--since", "1h", "--dead-letters", "no_text")
    assert code == ExitCode.DONE, printed
    found = read(scene, copies)
    assert [(place(message), message.value()) for message in found] == [
        (f"{topic}:1:1", b'{"body": "lacks a text"}'),
        (f"{topic}:1:3", array),
    ]
    assert {name for message in found for name, _ in headers_of(message)} == {
        "moderation.replay",
        *(f"moderation.source.{name}" for name in ("topic", "partition", "offset", "timestamp_ms")),
    }
    assert "1 dead letters were left out: they are further elements of a JSON array" in printed
    code, printed = replay(scene, "back", "--to", topic, "--since", "1h", "--dead-letters", "not_json", "--yes")
    assert code == ExitCode.DONE, printed
    assert [message.value() for message in read(scene, topic) if dict(headers_of(message))] == [b"not JSON"]


def two_workers_write(scene: KafkaEnv, arrays: dict[int, bytes]) -> None:
    """Write dead letters of elements of two arrays in turn, in the open transactions of two workers.

    So it is when the dead-letter topic has fewer partitions than the input topic.

    Args:
        scene: The topics.
        arrays: The arrays, by input partition; each is at offset 7.
    """
    [topic] = scene.inputs
    producers = [Producer({**scene.client, "transactional.id": f"{scene.group}.{at}"}) for at in arrays]
    for producer in producers:
        producer.init_transactions(KAFKA_S_MAX)
        producer.begin_transaction()
    for item in range(4):
        for producer, (partition, array) in zip(producers, arrays.items(), strict=True):
            headers: list[tuple[str, str | bytes | None]] = [
                ("moderation.error.reason", b"no_text"),
                ("moderation.source.topic", topic.encode()),
                ("moderation.source.partition", str(partition).encode()),
                ("moderation.source.offset", b"7"),
                ("moderation.source.item", str(item).encode()),
            ]
            producer.produce(scene.outputs[Topic.DEAD_LETTER], array, b"key", partition=0, headers=headers)
            assert producer.flush(KAFKA_S_MAX) == 0
    for producer in producers:
        producer.commit_transaction(KAFKA_S_MAX)


def test_an_array_is_copied_once_although_dead_letters_of_another_input_partition_stand_between_its_own(
    scene: KafkaEnv, copies: str, tmp_path: Path
) -> None:
    [topic] = scene.inputs
    arrays = {0: b'[{"a": 1}, {}, {}, {}]', 3: b'[{"b": 1}, {}, {}, {}]'}
    two_workers_write(scene, arrays)
    command = ("arrays", "--to", copies, "--since", "1h", "--dead-letters", "all")
    with running(tmp_path, scene, *command, "--per-second", "1") as process:
        process.wait_until(has_more_than(scene, copies, 1))
        process.kill()
    code, printed = replay(scene, *command)
    assert code == ExitCode.DONE, printed
    assert sorted((place(message), message.value()) for message in read(scene, copies)) == [
        (f"{topic}:{partition}:7", array) for partition, array in arrays.items()
    ]


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


def test_copies_whose_position_kafka_refuses_are_not_visible(scene: KafkaEnv, copies: str) -> None:
    [topic] = scene.inputs
    run_id = f"{scene.group}.replay.run"
    former = Consumer({**scene.client, "group.id": run_id})
    former.subscribe([topic])
    eventually(lambda: former.poll(0.1) is not None or bool(former.assignment()), lambda: run_id, seconds_max=30)
    no_longer_valid = former.consumer_group_metadata()
    former.close()
    confirmation = StartConfirmation(scene.client, run_id)
    producer = ReplayProducer(scene.client, run_id=run_id, topic=copies, partitions=2, confirmation=confirmation)
    copy = copy_of_message(
        "run",
        SourceRecord(partition=Partition(topic, 0), offset=0, timestamp_ms=None, key=None, value=b"{}", headers=()),
    )
    with pytest.raises(KafkaFatalError, match="Kafka did not take the copies"):
        producer.publish([copy], [TopicPartition(topic, 0, 1)], no_longer_valid)
    assert read(scene, copies) == []


def test_a_run_that_was_told_an_old_position_copies_nothing_again(scene: KafkaEnv, copies: str) -> None:
    """The run has committed 5. A process of it was told 0 (``start_confirmation`` says when Kafka does this)."""
    [topic] = scene.inputs
    run_id = f"{scene.group}.replay.run"
    at_5, at_0 = TopicPartition(topic, 0, 5), TopicPartition(topic, 0, 0)
    reader = Consumer({**scene.client, "group.id": run_id})
    reader.commit(offsets=[at_5], asynchronous=False)
    confirmation = StartConfirmation(scene.client, run_id)
    confirmation.expect(at_0)
    producer = ReplayProducer(scene.client, run_id=run_id, topic=copies, partitions=2, confirmation=confirmation)
    copy = copy_of_message(
        "run",
        SourceRecord(partition=Partition(topic, 0), offset=0, timestamp_ms=None, key=None, value=b"{}", headers=()),
    )
    with pytest.raises(KafkaFatalError, match="run this command again"):
        producer.publish([copy], [TopicPartition(topic, 0, 1)], reader.consumer_group_metadata())
    assert read(scene, copies) == []
    confirmation.expect(at_5)
    producer.publish([copy], [TopicPartition(topic, 0, 6)], reader.consumer_group_metadata())
    assert len(read(scene, copies)) == 1
    reader.close()
    confirmation.close()


def test_a_second_process_of_a_run_takes_it_over_and_nothing_is_copied_twice(
    scene: KafkaEnv, copies: str, tmp_path: Path
) -> None:
    scene.send([chat(f"message {number}") for number in range(600)])
    command = ("day", "--to", copies, "--since", "1h")
    with running(tmp_path, scene, *command, "--per-second", "60") as process:
        process.wait_until(lambda: is_mid_range(scene, copies, 600))
        code, printed = replay(scene, *command)
        assert code == ExitCode.DONE, printed
        eventually(lambda: process.exit_code is not None, lambda: process.said, seconds_max=30)
        assert process.exit_code == ExitCode.KAFKA, process.said
        assert "another process copies for this run" in process.said
    assert sorted(map(place, read(scene, copies))) == places(scene, [200, 200, 200])


def test_a_second_group_judges_copies_to_their_end_and_its_verdicts_are_compared_with_those_on_the_originals(
    bootstrap_servers: str, scene: KafkaEnv, tmp_path: Path
) -> None:
    scene.send([chat(f"message {number}") for number in range(300)])
    second = KafkaEnv(bootstrap_servers, "demo", inputs=(2,), partitions=2)
    second.create()
    [copies] = second.inputs
    code, printed = replay(scene, "day", "--to", copies, "--since", "1h")
    assert code == ExitCode.DONE, printed
    with workers(tmp_path, (*STUB_COMMAND, "--until-end"), name="stub") as start:
        both = [start(scene.environ()), start(second.environ())]
        assert [worker.end() for worker in both] == [ExitCode.DONE] * 2, both[1].said
    ledger = second.ledger()
    assert (ledger.clean, ledger.verdicts) == (True, 300), (str(ledger), ledger.examples)
    verdicts = [one.outputs[Topic.VERDICT] for one in (scene, second)]
    done = subprocess.run(
        [sys.executable, "-m", "worker", "compare", *verdicts, "--copies", copies, "--json"],
        env={**os.environ, **scene.environ()},
        capture_output=True,
        check=True,
        timeout=60,
    )
    document = json.loads(done.stdout)
    assert document["joined"] == 300
    assert document["flags"]["only_a"] == document["flags"]["only_b"] == 0 < document["flags"]["both"]


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
