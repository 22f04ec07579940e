"""A real Apache Kafka for experiments and for the tests. The machine needs no Docker, no Java and no Maven.

The cluster has one node, or several nodes with replication.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from worker.commands.broker.jars import KAFKA_VERSION, jars, java
from worker.commands.broker.node import HOST, Node, free_ports
from worker.errors import KafkaFatalError

JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)

PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Short sessions: the partitions of a killed worker move to another worker in seconds.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "1000",
    # A load of offsets notices between two buffers that the broker has lost the partition. With large buffers (by
    # default 5 MiB) it may go on until the broker has the partition again, as after kill -9. Then Kafka 4.2.2
    # answers with old offsets (worker/kafka/start_confirmation.py), or the group's coordinator does not come back.
    "offsets.load.buffer.size": "262144",
    # Few threads and little memory, for a small machine.
    "num.network.threads": "2",
    "num.io.threads": "2",
    "log.cleaner.dedupe.buffer.size": "2097152",
}
QUICK_RETURN: Mapping[str, str] = {"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"}
"""A killed broker can return only when its session with the controller has ended: by default after nine seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The nodes of one cluster."""

    nodes: tuple[Node, ...]

    @property
    def bootstrap_servers(self) -> str:
        """The address of each node, also of those that are down."""
        return ",".join(node.address for node in self.nodes)

    def start(self) -> None:
        """Start each node that is down, and wait until all nodes answer.

        Raises:
            KafkaFatalError: A node does not start, as in ``Node.spawn`` and ``Node.wait``. Other nodes may run.
        """
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            node.wait()

    def check(self) -> None:
        """Raise KafkaFatalError unless each node runs."""
        for node in self.nodes:
            node.check()

    def stop(self) -> None:
        """Send SIGTERM to all nodes together: a node that ends last would wait for a majority of the others."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to all nodes."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        for node in self.nodes:
            node.signal(number)
        for node in self.nodes:
            node.join()


@contextmanager
def running_broker(
    *,
    nodes: int = 1,
    port: int | None = None,
    data_dir: Path | None = None,
    extra_properties: Mapping[str, str] | None = None,
    client_config: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> Iterator[Broker]:
    """Start a Kafka, yield it when it answers, and end it.

    Args:
        nodes: 1, or at least 3 for replication.
        port: The port of the first node; None: a free port. The other nodes always get free ports.
        data_dir: The folder of the data, which the next start uses again; None: a temporary folder.
        extra_properties: Broker properties of each node, which replace those of this module.
        client_config: librdkafka's properties that clients need besides the address, where ``extra_properties``
            secure the listener.
        progress: Prints a line about each long step.

    Raises:
        KafkaFatalError: Jars or Java are missing, a port is taken, or a broker does not start.
    """
    class_path = os.pathsep.join(str(jar) for jar in jars(progress))
    command = (str(java()), *JVM, "-cp", class_path)
    folder = Path(tempfile.mkdtemp(prefix="moderation-kafka-")) if data_dir is None else data_dir.absolute()
    try:
        ports = free_ports(2 * nodes)
        own, controllers = [port or ports[0], *ports[1:nodes]], ports[nodes:]
        members = [
            Node(
                number=number,
                port=own_port,
                folder=folder / f"node-{number}",
                temporary=str(folder) if data_dir is None else "",
                java=command,
                client_config=client_config or {},
            )
            for number, own_port in enumerate(own, start=1)
        ]
        broker = Broker(nodes=tuple(members))
        _write_properties(broker, controllers, extra_properties or {})
        progress(f"Starting Apache Kafka {KAFKA_VERSION} ...")
        try:
            broker.start()
            yield broker
        finally:
            if data_dir is None:
                broker.kill()  # the data is removed anyway: a clean end would only take longer
            else:
                broker.stop()
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def serve(*, port: int | None, data_dir: Path | None, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Run a broker until ``stop`` is set or the user presses Ctrl-C.

    Raises:
        KafkaFatalError: The broker does not start, as in ``running_broker``, or ends by itself.
    """
    with suppress(KeyboardInterrupt), running_broker(port=port, data_dir=data_dir, progress=say) as broker:
        say(f"Apache Kafka {KAFKA_VERSION} answers at {broker.bootstrap_servers}; Ctrl-C ends it.")
        while not stop.wait(1):
            broker.check()


def _write_properties(broker: Broker, controller_ports: list[int], extra: Mapping[str, str]) -> None:
    """Write each node's ``server.properties``, with the voters' addresses of this start: ports may change."""
    pairs = list(zip(broker.nodes, controller_ports, strict=True))
    replicas, in_sync = str(min(3, len(pairs))), str(min(2, len(pairs)))
    for node, controller_port in pairs:
        properties = {
            **PROPERTIES,
            "node.id": str(node.number),
            "listeners": f"PLAINTEXT://{node.address},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{node.address}",
            "controller.quorum.voters": ",".join(f"{peer.number}@{HOST}:{at}" for peer, at in pairs),
            "log.dirs": str(node.folder / "data"),
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            **extra,
        }
        # Java reads these files as Latin-1 with the same escapes as JSON.
        text = "".join(f"{name}={json.dumps(value)[1:-1]}\n" for name, value in properties.items())
        try:
            node.folder.mkdir(parents=True, exist_ok=True)
            (node.folder / "server.properties").write_text(text)
        except OSError as error:
            why = f"{type(error).__name__}: {error.strerror}"
            raise KafkaFatalError(
                f"The broker's data can't be written into {node.folder} ({why}): choose another folder, or permit "
                "this user to write there."
            ) from error


if __name__ == "__main__":
    stop_event = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop_event.set())
    try:
        serve(port=None, data_dir=None, stop=stop_event, say=partial(print, flush=True))
    except KafkaFatalError as error:
        sys.exit(str(error))
