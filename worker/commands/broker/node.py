"""One broker of the bundled Kafka: a JVM that dies with this process (``child_process``).

Ports lie below the range from which systems draw outgoing ports. A client that keeps connecting to a stopped broker
could otherwise be given the broker's own port, connect to itself, and so prevent the broker's return.
"""

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from worker.commands.child_process import ChildProcess, log_tail
from worker.errors import KafkaFatalError

HOST = "127.0.0.1"
CLUSTER_ID = "moderation-worker-demA"  # 22 characters of base64: 16 bytes
FORMAT = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c")
START_S_MAX = 90
STOP_S_MAX = 20
PORTS = range(20_000, 32_768)  # Source: Linux draws outgoing ports from 32768 on, macOS from 49152


@dataclass(slots=True, kw_only=True)
class Node:
    """One broker. It keeps its port and its data over all starts.

    Attributes:
        number: The node id, from 1.
        port: The port for clients.
        folder: The folder of data, properties and log.
        temporary: The folder to remove when this process is killed; empty: none.
        java: The command line up to the main class.
        client_config: librdkafka's properties that a client needs besides the address.
    """

    number: int
    port: int
    folder: Path
    temporary: str
    java: tuple[str, ...]
    client_config: Mapping[str, str]
    _process: ChildProcess | None = None

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The file with the JVM's output, over all starts."""
        return self.folder / "broker.log"

    def spawn(self) -> None:
        """Start the JVM unless it runs, and do not wait until it answers.

        Raises:
            KafkaFatalError: The storage can't be formatted, or another process has the port.
        """
        if self._process is not None and self._process.exit_code is None:
            return
        self.join()
        if not is_free(self.port):
            raise KafkaFatalError(
                f"Port {self.port} is taken: choose another port, or stop the process that uses it."
            )
        properties = str(self.folder / "server.properties")
        if not (self.folder / "data" / "meta.properties").exists():
            with self.log.open("ab") as log:
                command = [*self.java, *FORMAT, properties]
                formatted = subprocess.run(command, stdout=log, stderr=log, check=False)  # noqa: S603 - as above
            if formatted.returncode != 0:
                raise self._failure("could not format its storage")
        self._process = ChildProcess(
            [*self.java, "kafka.Kafka", properties], log=self.log, temporary_folder=self.temporary
        )

    def wait(self) -> None:
        """Wait until the broker answers and its controller knows the broker.

        Raises:
            KafkaFatalError: The JVM ended, or does not answer in time. The message has the end of its log.
        """
        reconnect_soon = {"log_level": 0, "reconnect.backoff.max.ms": 200}
        admin = AdminClient({**reconnect_soon, **self.client_config, "bootstrap.servers": self.address})
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            self.check()
            with suppress(KafkaException):
                if self.number in admin.list_topics(timeout=1).brokers:
                    return
        raise self._failure(f"did not answer within {START_S_MAX} s")

    def start(self) -> None:
        """Start the JVM, and wait until it answers."""
        self.spawn()
        self.wait()

    def check(self) -> None:
        """Raise KafkaFatalError, with the end of the log, unless the JVM runs."""
        if self._process is None or self._process.exit_code is not None:
            raise self._failure("ended")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the JVM, and do not wait; SIGSTOP and SIGCONT work too."""
        if self._process is not None:
            self._process.send(number)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end of the JVM."""
        self.signal(signal.SIGKILL)
        self.join()

    def stop(self) -> None:
        """Send SIGTERM, and wait for the end of the JVM. Kill it after 20 seconds."""
        self.signal(signal.SIGTERM)
        self.join()

    def join(self) -> None:
        """Wait for the end of a JVM that got a signal. Kill it after 20 seconds."""
        if self._process is not None:
            self._process.join(STOP_S_MAX)
            self._process = None

    def _failure(self, what: str) -> KafkaFatalError:
        lines = [f"The bundled Kafka (node {self.number}) {what}; its log ends:", *log_tail(self.log)]
        return KafkaFatalError("\n  ".join(lines))


def free_ports(count: int) -> list[int]:
    """Return different ports on which no process listens at the moment."""
    candidates = secrets.SystemRandom().sample(PORTS, k=20 * count)
    return [port for port in candidates if is_free(port)][:count]


def is_free(port: int) -> bool:
    """Return whether a broker could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: ports in TIME_WAIT are free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
