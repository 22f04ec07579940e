"""`replay` on a real Kafka: each record of the range is copied exactly once, whatever ends the process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.verdict import rfc3339
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat, headers_of
from tests.replays import COMMAND, place, places, read, replay, running, two_workers_write
from tests.worker_process import STUB_COMMAND, eventually, workers
from worker.commands.replay.copies import SourceRecord, copy_of_message
from worker.commands.replay.replay_producer import ReplayProducer
from worker.errors import ExitCode, KafkaFatalError
from worker.kafka.start_confirmation import StartConfirmation
from worker.kafka.topics import TopicSpec, create_topics
from worker.records import Partition, Topic

pytestmark = pytest.mark.kafka

NOW_MS = time.time_ns() // 1_000_000
MINUTE_MS = 60_000


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
