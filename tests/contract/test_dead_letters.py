"""`dead-letters` as a process: it counts, names the places of examples, and shows no message."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported at run time
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from schemas.dead_letter import REASONS
from schemas.verdict import rfc3339
from tests.conftest import Topics, login
from tests.kafka_env import group_ids
from tests.shapes import plain
from worker.errors import ExitCode
from worker.kafka.topics import TopicSpec, create_topics
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy
from worker.records import ConsumedRecord, Partition, PreparedRecord, ScoredRecord
from worker.scores import DeadLetterReason

pytestmark = pytest.mark.kafka

HOUR_MS = 3_600_000
NOW_MS = time.time_ns() // 1_000_000
WORKER = "worker"  # the user of the secured Kafka, and the password
TEXT = b"the text of a message"
BUILDER = OutputBuilder(
    model={"name": "toy", "revision": "abc", "commit": None, "dtype": "float32"},
    policy=Policy.of(0.5, {}, alert_text="full"),
    read=plain(),
    record_bytes_max=1_000,
    worker_version="9.8.7",
)


def dead_letters(servers: str, topic: str, *arguments: str, **changes: str) -> tuple[int, str]:
    """Return the exit code, and what the command printed on both streams."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
    settings = {"BOOTSTRAP_SERVERS": servers, "DEAD_LETTER_TOPIC": topic, **changes}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "dead-letters", *arguments],
        cwd=Path(__file__).parents[2],
        env=bare | {f"WORKER_KAFKA__{name}": value for name, value in settings.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    printed = done.stdout.decode()
    assert TEXT.decode() not in printed
    return done.returncode, printed


class Letters:
    """Puts records into a dead-letter topic, with the same headers as the worker."""

    def __init__(self, servers: str, topic: str) -> None:
        self.producer = Producer({"bootstrap.servers": servers, "transactional.id": f"{topic}.letters"})
        self.producer.init_transactions(10)
        self.producer.begin_transaction()
        self._topic = topic

    def put(self, reason: str, *, ago_ms: int, offset: int = 0, value: bytes = TEXT, partition: int = 0) -> None:
        source = ConsumedRecord(
            partition=Partition("chat.messages", 7),
            assignment_epoch=1,
            previous_next_offset=offset,
            offset=offset,
            timestamp_ms=NOW_MS,
            key=TEXT,
            value=value,
            headers=[("header", TEXT)],
        )
        record = PreparedRecord(
            source=source, content=DeadLetterReason(reason=reason, message=f"Sentence on {reason}.")
        )
        (letter,) = BUILDER.build([ScoredRecord(record=record, scores=None)], judged_at="")
        self._produce(letter.value, letter.key, list(letter.headers), ago_ms, partition)

    def put_foreign(self, *, ago_ms: int) -> None:
        self._produce(TEXT, TEXT, [("header", TEXT)], ago_ms, 0)

    def commit(self) -> None:
        assert self.producer.flush(10) == 0
        self.producer.commit_transaction(10)
        self.producer.begin_transaction()

    def _produce(
        self,
        value: bytes | None,
        key: bytes | None,
        headers: list[tuple[str, str | bytes | None]],
        ago_ms: int,
        partition: int,
    ) -> None:
        self.producer.produce(
            self._topic, value, key, partition=partition, headers=headers, timestamp=NOW_MS - ago_ms
        )


def as_settings(client: dict[str, str]) -> dict[str, str]:
    """Return a client's properties as variables without the prefix."""
    own = ("security.protocol", "sasl.mechanism", "sasl.username", "sasl.password")
    rest = {name: value for name, value in client.items() if name not in own}
    named = {name.upper().replace(".", "_"): client[name] for name in own}
    return {**named, "PROPERTIES": json.dumps(rest)}


def hour(ago_ms: int) -> str:
    return rfc3339((NOW_MS - ago_ms) // HOUR_MS * HOUR_MS)[:16].replace("T", " ")


def test_counts_and_the_places_of_the_newest_examples_are_shown_and_no_message(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    topic = fresh_topics(partitions=2).dead_letters
    letters = Letters(bootstrap_servers, topic)
    for number in range(5):
        letters.put("not_json", ago_ms=5 * HOUR_MS - number, offset=100 + number)
    letters.put("not_json", ago_ms=2 * HOUR_MS, offset=4711, partition=1)
    letters.put("too_large", ago_ms=2 * HOUR_MS, value=TEXT * 100)
    letters.put_foreign(ago_ms=HOUR_MS)
    letters.put("no_text", ago_ms=30 * HOUR_MS)  # older than 24 hours, at a later offset than newer records
    letters.commit()
    letters.put("no_text", ago_ms=HOUR_MS)
    letters.producer.flush(10)
    letters.producer.abort_transaction(10)

    code, printed = dead_letters(bootstrap_servers, topic, "--examples", "2")
    assert code == ExitCode.DONE, printed
    rows = [line.replace("█", "").split() for line in printed.splitlines() if "█" in line]
    assert rows == [
        [*hour(5 * HOUR_MS).split(), "not_json", "5"],
        [*hour(2 * HOUR_MS).split(), "not_json", "1"],
        ["too_large", "1"],
        [*hour(HOUR_MS).split(), "foreign", "1"],
    ]
    assert f"{topic}: 8 dead letters since " in printed
    assert f"oldest {rfc3339(NOW_MS - 5 * HOUR_MS)}, newest {rfc3339(NOW_MS - HOUR_MS)}\n" in printed
    assert f"\nnot_json: 6. {REASONS['not_json']}\n  {topic}[1]@0 " in printed
    newest = printed.index("    of chat.messages[7]@4711, worker 9.8.7\n    Sentence on not_json.\n")
    assert newest < printed.index(f"  {topic}[0]@4 ")
    assert f"{topic}[0]@3 " not in printed  # the third newest
    assert "of chat.messages[7]@0, worker 9.8.7, left out: value\n" in printed
    assert f"--bootstrap-server {bootstrap_servers} " in printed
    assert f"--topic {topic} --partition 1 --offset 0 " in printed
    assert "no_text" not in printed
    assert "reader" not in group_ids(bootstrap_servers)


def test_only_one_reason_or_a_longer_time_can_be_counted(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    topic = fresh_topics().dead_letters
    letters = Letters(bootstrap_servers, topic)
    letters.put("not_json", ago_ms=30 * HOUR_MS)
    letters.put("not_json", ago_ms=40 * HOUR_MS)
    letters.put("no_text", ago_ms=30 * HOUR_MS)
    letters.commit()
    since = rfc3339(NOW_MS - 35 * HOUR_MS)
    code, printed = dead_letters(bootstrap_servers, topic, "--since", since, "--reason", "not_json")
    assert (code, f"{topic}: 1 dead letters since {since}" in printed, "no_text" in printed) == (
        ExitCode.DONE,
        True,
        False,
    ), printed
    code, printed = dead_letters(bootstrap_servers, topic)
    assert (code, f"{topic}: no dead letters since " in printed) == (ExitCode.DONE, True), printed


def test_a_missing_topic_is_named_with_the_command_that_creates_it(bootstrap_servers: str) -> None:
    code, printed = dead_letters(bootstrap_servers, "no-such-topic")
    assert (code, printed) == (
        ExitCode.KAFKA,
        "Topic no-such-topic does not exist: create it with moderation-worker topics create.\n",
    )


def test_a_missing_permission_is_named_and_read_on_the_topic_is_enough(secured_bootstrap_servers: str) -> None:
    topic = f"test-{uuid.uuid4().hex[:12]}.dead-letters"
    client: dict[str, Any] = {"bootstrap.servers": secured_bootstrap_servers, **login("admin", "admin")}
    create_topics(client, [TopicSpec(name=topic, partitions=1)])
    admin = AdminClient(client)

    def look(password: str) -> tuple[int, str]:
        user = as_settings(login(WORKER, password))
        return dead_letters(secured_bootstrap_servers, topic, **user)

    def grant(operation: AclOperation) -> None:
        pattern, allow = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
        binding = AclBinding(ResourceType.TOPIC, topic, pattern, "User:worker", "*", operation, allow)
        admin.create_acls([binding])[binding].result(10)

    code, printed = look("hunter2")
    assert (code, "SASL_PASSWORD" in printed, "hunter2" in printed) == (ExitCode.KAFKA, True, False), printed
    hidden = f"This user may not see whether topic {topic} exists: grant this user READ on the topic.\n"
    assert look(WORKER) == (ExitCode.KAFKA, hidden)
    grant(AclOperation.DESCRIBE)
    assert look(WORKER) == (
        ExitCode.KAFKA,
        f"Kafka does not let this user read {topic}: grant this user READ on the topic.\n",
    )
    grant(AclOperation.READ)
    code, printed = look(WORKER)
    assert (code, f"{topic}: no dead letters since " in printed) == (ExitCode.DONE, True), printed
