"""`check` and the topics: missing topics, too few partitions, and settings that do not fit."""

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported at run time
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from tests.check_command import KAFKA_S_MAX, readable_records, run_check, settings_for
from tests.conftest import Topics, new_topic_names
from worker.errors import ExitCode

pytestmark = pytest.mark.kafka


def test_missing_topics_are_named_with_the_command_that_creates_them(
    bootstrap_servers: str, tmp_path: Path
) -> None:
    topics = new_topic_names()
    outcome = run_check(settings_for(bootstrap_servers, topics), tmp_path)
    assert outcome.code is ExitCode.KAFKA
    for name in (topics.input, topics.verdicts, topics.alerts, topics.dead_letters):
        assert outcome.line(f"topic {name}").startswith("✗")
    assert outcome.screen.count("-> moderation-worker topics create") == 4
    assert outcome.line(f"permission to WRITE {topics.alerts}").startswith("- ")
    assert outcome.line("permission to WRITE the transactional id").startswith("✓")
    assert outcome.line("model").startswith("✗")  # the check does not stop at the topics
    there = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=KAFKA_S_MAX).topics
    assert topics.input not in there


def test_outputs_may_have_fewer_partitions_than_the_input(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    many, few = fresh_topics(partitions=3), fresh_topics(partitions=1)
    settings = settings_for(bootstrap_servers, few, WORKER_KAFKA__INPUT_TOPICS=many.input)
    outcome = run_check(settings, tmp_path)
    assert outcome.line(f"topic {few.verdicts}").startswith("✓")
    assert "share" in outcome.line(f"topic {few.verdicts}")
    assert outcome.line("transaction").startswith("✓")


def configure(servers: str, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers})
    admin.incremental_alter_configs([resource])[resource].result(KAFKA_S_MAX)


def test_a_compacted_topic_is_wrong_and_the_command_that_changes_it_is_shown(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    configure(bootstrap_servers, topics.verdicts, "cleanup.policy", "compact")
    outcome = run_check(settings_for(bootstrap_servers, topics), tmp_path)
    assert outcome.code is ExitCode.KAFKA
    assert outcome.line(f"settings of {topics.verdicts}").startswith("✗")
    assert "a record without a key: " in outcome.line(f"permission to WRITE {topics.verdicts}")
    command = f"--alter --entity-type topics --entity-name {topics.verdicts} --add-config cleanup.policy=delete"
    assert outcome.screen.count(command) == 2
    assert outcome.line(f"settings of {topics.alerts}").startswith("✓")
    assert readable_records(bootstrap_servers, topics.verdicts) == 0


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (("max.message.bytes", "100000"), "WORKER_KAFKA__RECORD_BYTES_MAX (1000000)"),
        # Not 1 ms: a broker also applies this limit to the marker that ends a transaction. A slow broker then
        # refuses its own marker, and the transaction does not end.
        (("message.timestamp.before.max.ms", "10000"), "message.timestamp.before.max.ms is 10000"),
    ],
)
def test_a_topic_that_accepts_most_records_is_doubtful(
    setting: tuple[str, str],
    text: str,
    bootstrap_servers: str,
    fresh_topics: Callable[..., Topics],
    tmp_path: Path,
) -> None:
    topics = fresh_topics(partitions=1)
    configure(bootstrap_servers, topics.verdicts, *setting)
    outcome = run_check(settings_for(bootstrap_servers, topics), tmp_path)
    assert outcome.line(f"settings of {topics.verdicts}").startswith("! ")
    assert text in outcome.line(f"settings of {topics.verdicts}")
