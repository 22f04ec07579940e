"""`check`: what it says of a good Kafka and of each kind of bad one, and that it leaves nothing behind."""

import io
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # theirs to export
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)
from rich.console import Console

from tests.acls import binding, documented, grant
from tests.conftest import SecuredKafka, Topics, login, nowhere
from worker.commands.check.items import check
from worker.errors import ExitCode
from worker.settings import Need, load_settings

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The end of a check.

    Attributes:
        code: The exit code.
        screen: What it printed.
    """

    code: ExitCode
    screen: str

    def line(self, item: str) -> str:
        """The line of an item."""
        (found,) = [line for line in self.screen.splitlines() if line[2:].startswith(f"{item}:")]
        return found

    @property
    def marks(self) -> str:
        """The marks of all items."""
        return "".join(line[0] for line in self.screen.splitlines() if not line.startswith(" "))


def settings_for(servers: str, topics: Topics, **changes: str) -> dict[str, str]:
    """An environment for these topics, with a group of its own and no model: to load one takes time."""
    name = topics.input.removesuffix(".messages")
    return {
        "WORKER_KAFKA__BOOTSTRAP_SERVERS": servers,
        "WORKER_KAFKA__GROUP_ID": name,
        "WORKER_KAFKA__TRANSACTIONAL_ID": f"{name}.1",
        "WORKER_KAFKA__INPUT_TOPICS": topics.input,
        "WORKER_KAFKA__VERDICT_TOPIC": topics.verdicts,
        "WORKER_KAFKA__ALERT_TOPIC": topics.alerts,
        "WORKER_KAFKA__DEAD_LETTER_TOPIC": topics.dead_letters,
        "WORKER_MODEL__PATH": "/not/there",
        "WORKER_MODEL__THREADS": "1",
        **changes,
    }


def look(environ: dict[str, str], directory: Path) -> Seen:
    screen = io.StringIO()
    code = check(
        lambda: load_settings(environ, {Need.KAFKA, Need.MODEL}, directory),
        Console(file=screen, highlight=False),
        lambda _: None,
    )
    return Seen(code=code, screen=screen.getvalue())


def fill(servers: str, topic: str, *, committed: int, partition: int = 0) -> None:
    """Puts messages into a partition, and as many again into a transaction that is aborted."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": f"{topic}.feed"})
    producer.init_transactions(10)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for _ in range(committed):
            producer.produce(topic, b'{"text":"hello"}', partition=partition)
        producer.flush(10)
        end(10)


@pytest.fixture
def unfinished(bootstrap_servers: str) -> Iterator[Callable[[str], None]]:
    """Leaves a transaction open in the first partition of a topic."""
    producers: list[Producer] = []

    def leave(topic: str) -> None:
        producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": f"{topic}.open"})
        producers.append(producer)
        producer.init_transactions(10)
        producer.begin_transaction()
        for _ in range(50):
            producer.produce(topic, b'{"text":"hello"}', partition=0)
        assert producer.flush(10) == 0

    yield leave
    for producer in producers:
        producer.abort_transaction(10)


def reader(servers: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }
    )


def visible(servers: str, topic: str) -> int:
    """Records of a topic's first partition at read_committed, and that there is something to hide."""
    consumer = reader(servers, "somebody else")
    consumer.assign([TopicPartition(topic, 0, 0)])
    count = 0
    while True:
        message = consumer.poll(10)
        assert message is not None
        if (error := message.error()) is not None:
            assert error.name() == "_PARTITION_EOF"
            break
        count += 1
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.close()
    assert end > 0
    return count


def groups(servers: str) -> set[str]:
    listed = AdminClient({"bootstrap.servers": servers}).list_consumer_groups().result()
    return {group.group_id for group in listed.valid}


def test_all_is_well(bootstrap_servers: str, fresh_topics: Callable[..., Topics]) -> None:
    topics = fresh_topics(partitions=2)
    fill(bootstrap_servers, topics.input, committed=3, partition=1)
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
    seen = Seen(code=ExitCode(done.returncode), screen=done.stdout.decode())
    assert seen.code is ExitCode.DONE, seen.screen
    assert set(seen.marks) == {"✓"}
    assert seen.line(f"topic {topics.input}") == f"✓ topic {topics.input}: partitions: 2"
    # Three messages and their marker; three aborted messages and their marker.
    assert "messages: 8 at most" in seen.line("backlog")
    assert "messages per second" in seen.line("model")
    assert "hours at" in seen.line("time for the backlog")
    assert "\x1b" not in seen.screen
    group = settings["WORKER_KAFKA__GROUP_ID"]
    assert group not in groups(bootstrap_servers)
    assert [visible(bootstrap_servers, one) for one in (topics.verdicts, topics.alerts, topics.dead_letters)] == [
        0,
        0,
        0,
    ]


def test_a_partition_that_an_open_transaction_blocks_is_doubtful(
    bootstrap_servers: str,
    fresh_topics: Callable[..., Topics],
    unfinished: Callable[[str], None],
    tmp_path: Path,
) -> None:
    topics = fresh_topics(partitions=2)
    fill(bootstrap_servers, topics.input, committed=3)
    fill(bootstrap_servers, topics.input, committed=3, partition=1)
    unfinished(topics.input)
    seen = look(settings_for(bootstrap_servers, topics), tmp_path)
    line = seen.line("open transactions in the input")
    assert line.startswith("!")
    assert f"{topics.input}[0] is blocked at offset 8 by another producer's open transaction" in line
    assert line.endswith("messages behind it: 50")
    assert f"describe-producers --topic {topics.input} --partition 0" in seen.screen
    assert f"--topic {topics.input} --partition 1" not in seen.screen
    assert "messages: 16 at most" in seen.line("backlog")  # of the open transaction nothing can be read
    assert seen.code is ExitCode.MODEL  # of the model that is not there, and of nothing else


def test_the_group_s_offsets_count_and_are_left_as_they_are(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    fill(bootstrap_servers, topics.input, committed=5)
    settings = settings_for(bootstrap_servers, topics, WORKER_KAFKA__AUTO_OFFSET_RESET="error")
    consumer = reader(bootstrap_servers, settings["WORKER_KAFKA__GROUP_ID"])
    consumer.commit(offsets=[TopicPartition(topics.input, 0, 10)], asynchronous=False)
    seen = look(settings, tmp_path)
    assert "messages: 2 at most" in seen.line("backlog")  # 12 offsets, markers included
    (after,) = consumer.committed([TopicPartition(topics.input, 0)], timeout=10)
    consumer.close()
    assert after.offset == 10


def test_a_live_member_of_the_group_keeps_its_partitions(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    fill(bootstrap_servers, topics.input, committed=1)
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
    assert look(settings, tmp_path).marks.startswith("✓" * 17)
    fill(bootstrap_servers, topics.input, committed=1)
    second = member.poll(30)
    assert second is not None
    assert second.error() is None
    assert changes == ["assigned"]
    member.close()


def test_missing_topics_are_named_with_the_command_that_makes_them(bootstrap_servers: str, tmp_path: Path) -> None:
    topics = nowhere()
    seen = look(settings_for(bootstrap_servers, topics), tmp_path)
    assert seen.code is ExitCode.KAFKA
    for name in (topics.input, topics.verdicts, topics.alerts, topics.dead_letters):
        assert seen.line(f"topic {name}").startswith("✗")
    assert seen.screen.count("-> moderation-worker topics create") == 4
    assert seen.line(f"permission to WRITE {topics.alerts}").startswith("- ")
    assert seen.line("permission to WRITE the transactional id").startswith("✓")
    assert seen.line("model").startswith("✗")  # it is looked at all the same
    there = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=10).topics
    assert topics.input not in there


def test_outputs_may_have_fewer_partitions(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    many, few = fresh_topics(partitions=3), fresh_topics(partitions=1)
    settings = settings_for(bootstrap_servers, few, WORKER_KAFKA__INPUT_TOPICS=many.input)
    seen = look(settings, tmp_path)
    assert seen.line(f"topic {few.verdicts}").startswith("✓")
    assert "share" in seen.line(f"topic {few.verdicts}")
    assert seen.line("transaction").startswith("✓")


def configure(servers: str, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers})
    admin.incremental_alter_configs([resource])[resource].result(10)


def test_a_compacted_topic_is_shown_with_the_command_that_changes_it(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    configure(bootstrap_servers, topics.verdicts, "cleanup.policy", "compact")
    seen = look(settings_for(bootstrap_servers, topics), tmp_path)
    assert seen.code is ExitCode.KAFKA
    assert seen.line(f"settings of {topics.verdicts}").startswith("✗")
    assert "a record without a key: " in seen.line(f"permission to WRITE {topics.verdicts}")
    command = f"--alter --entity-type topics --entity-name {topics.verdicts} --add-config cleanup.policy=delete"
    assert seen.screen.count(command) == 2
    assert seen.line(f"settings of {topics.alerts}").startswith("✓")
    assert visible(bootstrap_servers, topics.verdicts) == 0


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (("max.message.bytes", "100000"), "WORKER_KAFKA__RECORD_BYTES_MAX (1000000)"),
        (("message.timestamp.before.max.ms", "1"), "message.timestamp.before.max.ms is 1"),
    ],
)
def test_a_topic_that_takes_most_of_what_is_written_is_doubtful(
    setting: tuple[str, str],
    says: str,
    bootstrap_servers: str,
    fresh_topics: Callable[..., Topics],
    tmp_path: Path,
) -> None:
    topics = fresh_topics(partitions=1)
    configure(bootstrap_servers, topics.verdicts, *setting)
    seen = look(settings_for(bootstrap_servers, topics), tmp_path)
    assert seen.line(f"settings of {topics.verdicts}").startswith("! ")
    assert says in seen.line(f"settings of {topics.verdicts}")


def test_a_partition_with_nowhere_to_start_is_a_fault_where_the_settings_choose_no_start(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    seen = look(settings_for(bootstrap_servers, topics, WORKER_KAFKA__AUTO_OFFSET_RESET="error"), tmp_path)
    assert seen.code is ExitCode.KAFKA
    assert seen.line("backlog").startswith("✗")
    assert "WORKER_KAFKA__AUTO_OFFSET_RESET" in seen.screen


def test_a_start_in_time_leaves_the_older_backlog_alone(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    topics = fresh_topics(partitions=1)
    fill(bootstrap_servers, topics.input, committed=5)
    late = "2099-01-01T00:00:00Z"
    seen = look(settings_for(bootstrap_servers, topics, WORKER_KAFKA__AUTO_OFFSET_RESET=late), tmp_path)
    assert seen.line("backlog") == "✓ backlog: messages: 0"


def test_a_missing_model_is_exit_code_4(
    bootstrap_servers: str, fresh_topics: Callable[..., Topics], tmp_path: Path
) -> None:
    seen = look(settings_for(bootstrap_servers, fresh_topics()), tmp_path)
    assert seen.code is ExitCode.MODEL
    assert seen.line("model").startswith("✗ model: WORKER_MODEL__PATH")
    assert "model fetch" in seen.line("model")
    assert seen.marks == "✓" * 18 + "✗-"


def test_a_broker_that_is_away_is_said_in_time_and_the_rest_skipped(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        seen = look(settings_for(address, nowhere()), tmp_path)
    assert seen.code is ExitCode.KAFKA
    assert seen.line("broker").startswith("✗")
    assert "WORKER_KAFKA__BOOTSTRAP_SERVERS" in seen.screen
    assert seen.line("transaction") == "- transaction: skipped, because of: broker"
    assert seen.line("model").startswith("✗")


def test_a_missing_permission_is_shown_with_the_command_that_mends_it(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    topics = nowhere()
    client: dict[str, Any] = {"bootstrap.servers": secured_kafka.scram, **login("admin", "admin")}
    topics.create(client, partitions=1)
    settings = settings_for(secured_kafka.scram, topics, **secured_kafka.over_scram)
    seen = look(settings, tmp_path)
    mends = re.findall("-> kafka-acls.sh (.*)", seen.screen)
    assert (seen.code, mends) == (ExitCode.KAFKA, documented(settings))
    grant(AdminClient(client), map(binding, mends))
    marks = look(settings, tmp_path).marks
    assert marks == "✓" * 9 + "---" + "✓" * 6 + "✗-"  # the topics' settings are hidden, the model is not there


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("SASL_PASSWORD=not-the-password", "Authentication failed"),
        ("SASL_MECHANISM=SCRAM-SHA-256", "SCRAM-SHA-512"),
        ("SSL_CA_LOCATION={}/stranger.pem", "certificate verify failed"),
    ],
)
def test_a_login_that_fails_names_the_setting(
    fault: str, said: str, secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    setting, value = fault.format(secured_kafka.certificates).split("=")
    wrong = secured_kafka.over_scram | {f"WORKER_KAFKA__{setting}": value}
    seen = look(settings_for(secured_kafka.scram, nowhere(), **wrong), tmp_path)
    assert seen.code is ExitCode.KAFKA
    assert said in seen.line("broker")
    assert setting in seen.screen
    assert "not-the-password" not in seen.screen


def test_a_missing_certificate_names_the_settings(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    settings = settings_for(secured_kafka.mtls, nowhere(), **secured_kafka.over_mtls)
    for name in ("WORKER_KAFKA__SSL_CERTIFICATE_LOCATION", "WORKER_KAFKA__SSL_KEY_LOCATION"):
        del settings[name]
    seen = look(settings, tmp_path)
    assert seen.code is ExitCode.KAFKA
    assert "certificate required" in seen.line("broker")
    assert "SSL_CERTIFICATE_LOCATION" in seen.screen


def test_wrong_settings_are_all_listed_and_all_else_skipped(tmp_path: Path) -> None:
    seen = look({"WORKER_KAFKA__SESSION_TIMEOUT_MS": "x", "WORKER_TYPO": "1"}, tmp_path)
    assert seen.code is ExitCode.CONFIGURATION
    for variable in (
        "WORKER_KAFKA__SESSION_TIMEOUT_MS",
        "WORKER_TYPO",
        "WORKER_KAFKA__BOOTSTRAP_SERVERS",
        "WORKER_MODEL__PATH",
    ):
        assert f"    {variable}: got" in seen.screen
    assert seen.marks == "✗" + "-" * 7


def test_a_property_that_librdkafka_refuses_is_a_wrong_setting_and_its_value_a_secret(tmp_path: Path) -> None:
    properties = '{"compression.type": "hunter2"}'
    seen = look(settings_for("127.0.0.1:1", nowhere(), WORKER_KAFKA__PROPERTIES=properties), tmp_path)
    assert seen.code is ExitCode.CONFIGURATION
    assert "compression" in seen.line("settings")
    assert "hunter2" not in seen.screen


def test_settings_that_give_a_login_away_are_said(tmp_path: Path) -> None:
    login_by_plain = {
        "WORKER_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "WORKER_KAFKA__SASL_MECHANISM": "PLAIN",
        "WORKER_KAFKA__SASL_USERNAME": "worker",
        "WORKER_KAFKA__SASL_PASSWORD": "hunter2",
    }
    seen = look(settings_for("127.0.0.1:1", nowhere(), **login_by_plain), tmp_path)
    assert seen.line("settings") == "✓ settings: valid"
    assert (
        "    WORKER_KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT with WORKER_KAFKA__SASL_MECHANISM=PLAIN" in seen.screen
    )
    assert "hunter2" not in seen.screen
