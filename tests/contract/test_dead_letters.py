"""`dead-letters`, as people call it: what it counts, where it points, and that it shows no message."""

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
from confluent_kafka.admin import (  # type: ignore[attr-defined] # theirs to export
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from schemas.chat import InputShape
from schemas.dead_letter import REASONS
from schemas.verdict import rfc3339
from tests.conftest import Topics, login
from worker.errors import ExitCode
from worker.kafka.topics import TopicSpec, create_topics
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policy import Policy
from worker.records import ConsumedRecord, DeadLetterReason, Partition, PreparedRecord, ScoredRecord

pytestmark = pytest.mark.kafka

HOUR_MS = 3_600_000
NOW_MS = time.time_ns() // 1_000_000
WORKER = "worker"  # the user of the secured Kafka, and the password
WORDS = b"what somebody said"
MAKER = OutputBuilder(
    model={"name": "toy", "revision": "abc", "commit": None, "dtype": "float32"},
    policy=Policy.of(0.5, {}),
    shape=InputShape(),
    alert_text="full",
    record_bytes_max=1_000,
    worker_version="9.8.7",
)


def dead_letters(servers: str, topic: str, *arguments: str, **changes: str) -> tuple[int, str]:
    """The exit code, and what was said on both streams."""
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
    said = done.stdout.decode()
    assert WORDS.decode() not in said
    return done.returncode, said


class Letters:
    """Puts records into a dead-letter topic, with the very headers that the worker gives them."""

    def __init__(self, servers: str, topic: str) -> None:
        self.producer = Producer({"bootstrap.servers": servers, "transactional.id": f"{topic}.letters"})
        self.producer.init_transactions(10)
        self.producer.begin_transaction()
        self._topic = topic

    def put(self, reason: str, *, ago_ms: int, offset: int = 0, value: bytes = WORDS, partition: int = 0) -> None:
        source = ConsumedRecord(
            partition=Partition("chat.messages", 7),
            assignment_epoch=1,
            previous_next_offset=offset,
            offset=offset,
            timestamp_ms=NOW_MS,
            key=WORDS,
            value=value,
            headers=[("said", WORDS)],
        )
        record = PreparedRecord(
            source=source, content=DeadLetterReason(reason=reason, message=f"Sentence on {reason}.")
        )
        (letter,) = MAKER.build([ScoredRecord(record=record, scores=None)], judged_at="")
        self._produce(letter.value, letter.key, list(letter.headers), ago_ms, partition)

    def put_foreign(self, *, ago_ms: int) -> None:
        self._produce(WORDS, WORDS, [("said", WORDS)], ago_ms, 0)

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
    """A client's properties as variables, without what all of them begin with."""
    own = ("security.protocol", "sasl.mechanism", "sasl.username", "sasl.password")
    rest = {name: value for name, value in client.items() if name not in own}
    named = {name.upper().replace(".", "_"): client[name] for name in own}
    return {**named, "PROPERTIES": json.dumps(rest)}


def hour(ago_ms: int) -> str:
    return rfc3339((NOW_MS - ago_ms) // HOUR_MS * HOUR_MS)[:16].replace("T", " ")


def test_counts_by_hour_and_reason_and_the_newest_places_are_shown_and_no_message(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics]
) -> None:
    topic = fresh_topics(partitions=2).dead_letters
    letters = Letters(bootstrap_servers, topic)
    for number in range(5):
        letters.put("not_json", ago_ms=5 * HOUR_MS - number, offset=100 + number)
    letters.put("not_json", ago_ms=2 * HOUR_MS, offset=4711, partition=1)
    letters.put("too_large", ago_ms=2 * HOUR_MS, value=WORDS * 100)
    letters.put_foreign(ago_ms=HOUR_MS)
    letters.put("no_text", ago_ms=30 * HOUR_MS)  # before the 24 hours, and behind later ones
    letters.commit()
    letters.put("no_text", ago_ms=HOUR_MS)
    letters.producer.flush(10)
    letters.producer.abort_transaction(10)

    code, said = dead_letters(bootstrap_servers, topic, "--examples", "2")
    assert code == ExitCode.DONE, said
    rows = [line.replace("█", "").split() for line in said.splitlines() if "█" in line]
    assert rows == [
        [*hour(5 * HOUR_MS).split(), "not_json", "5"],
        [*hour(2 * HOUR_MS).split(), "not_json", "1"],
        ["too_large", "1"],
        [*hour(HOUR_MS).split(), "foreign", "1"],
    ]
    assert f"{topic}: 8 since " in said
    assert f"oldest {rfc3339(NOW_MS - 5 * HOUR_MS)}, newest {rfc3339(NOW_MS - HOUR_MS)}\n" in said
    assert f"\nnot_json: 6. {REASONS['not_json']}\n  {topic}[1]@0 " in said
    newest = said.index("    of chat.messages[7]@4711, worker 9.8.7\n    Sentence on not_json.\n")
    assert newest < said.index(f"  {topic}[0]@4 ")
    assert f"{topic}[0]@3 " not in said  # the third newest
    assert "of chat.messages[7]@0, worker 9.8.7, left out: value\n" in said
    assert f"--bootstrap-server {bootstrap_servers} " in said
    assert f"--topic {topic} --partition 1 --offset 0 " in said
    assert "no_text" not in said
    listed = AdminClient({"bootstrap.servers": bootstrap_servers}).list_consumer_groups().result()
    assert "reader" not in {group.group_id for group in listed.valid}


def test_a_reason_and_a_time_narrow_it_down(bootstrap_servers: str, fresh_topics: Callable[..., Topics]) -> None:
    topic = fresh_topics().dead_letters
    letters = Letters(bootstrap_servers, topic)
    letters.put("not_json", ago_ms=30 * HOUR_MS)
    letters.put("not_json", ago_ms=40 * HOUR_MS)
    letters.put("no_text", ago_ms=30 * HOUR_MS)
    letters.commit()
    since = rfc3339(NOW_MS - 35 * HOUR_MS)
    code, said = dead_letters(bootstrap_servers, topic, "--since", since, "--reason", "not_json")
    assert (code, f"{topic}: 1 since {since}" in said, "no_text" in said) == (ExitCode.DONE, True, False), said
    code, said = dead_letters(bootstrap_servers, topic)
    assert (code, f"{topic}: nothing since " in said) == (ExitCode.DONE, True), said


def test_a_topic_that_is_not_there_is_named_with_the_command_that_makes_it(bootstrap_servers: str) -> None:
    code, said = dead_letters(bootstrap_servers, "no-such-topic")
    assert (code, said) == (
        ExitCode.KAFKA,
        "Topic no-such-topic does not exist: create it with moderation-worker topics create.\n",
    )


def test_what_keeps_it_out_is_named_and_read_on_the_topic_is_enough(secured_bootstrap_servers: str) -> None:
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

    code, said = look("hunter2")
    assert (code, "SASL_PASSWORD" in said, "hunter2" in said) == (ExitCode.KAFKA, True, False), said
    hidden = f"This user may not see whether topic {topic} exists: grant this user READ on the topic.\n"
    assert look(WORKER) == (ExitCode.KAFKA, hidden)
    grant(AclOperation.DESCRIBE)
    assert look(WORKER) == (
        ExitCode.KAFKA,
        f"Kafka does not let this user read {topic}: grant this user READ on the topic.\n",
    )
    grant(AclOperation.READ)
    code, said = look(WORKER)
    assert (code, f"{topic}: nothing since " in said) == (ExitCode.DONE, True), said
