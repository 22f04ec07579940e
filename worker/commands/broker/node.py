"""One broker of the bundled Kafka: a JVM that dies with this process, however that dies (``guard``).

Ports lie below the range from which systems draw outgoing ones: a client that keeps calling a broker that is down
could otherwise be given the very port it calls, connect to itself, and the broker could not come back.
"""

import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from worker.errors import KafkaFatalError

HOST = "127.0.0.1"
CLUSTER_ID = "moderation-worker-demA"  # 22 characters of base64: 16 bytes
FORMAT = ("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c")
START_MS_MAX = 90_000
STOP_MS_MAX = 20_000
LOG_TAIL_LINES = 15
PORTS = range(20_000, 32_768)  # Source: Linux draws outgoing ports from 32768 on, macOS from 49152


@dataclass(slots=True, kw_only=True)
class Node:
    """One broker, on the same port and data however often it starts.

    Attributes:
        number: From 1.
        port: For clients.
        folder: Its data, properties and log.
        temporary: The folder to remove once this process is gone without a farewell; empty: none.
        java: The command up to the main class.
        client_config: What a client needs beside the address.
    """

    number: int
    port: int
    folder: Path
    temporary: str
    java: tuple[str, ...]
    client_config: Mapping[str, str]
    _guard: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What a client connects to."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What the JVM printed, over all starts."""
        return self.folder / "broker.log"

    def spawn(self) -> None:
        """Starts the JVM without waiting for it, unless it runs.

        Raises:
            KafkaFatalError: The storage can't be formatted, or the port is taken.
        """
        if self._guard is not None and self._guard.poll() is None:
            return
        self.join()
        if not is_free(self.port):
            raise KafkaFatalError(f"Port {self.port} is taken: choose another, or stop what listens there.")
        properties = str(self.folder / "server.properties")
        with self.log.open("ab") as log:
            if not (self.folder / "data" / "meta.properties").exists():
                command = [*self.java, *FORMAT, properties]
                if subprocess.run(command, stdout=log, stderr=log, check=False).returncode != 0:  # noqa: S603 - ours
                    raise self._failure("could not format its storage")
            guard = [
                sys.executable,
                "-I",
                "-S",
                str(Path(__file__).parents[1] / "die_with_parent.py"),
                self.temporary,
            ]
            self._guard = subprocess.Popen(  # noqa: S603 - our own file
                [*guard, *self.java, "kafka.Kafka", properties],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is ours to deal with
            )

    def wait(self) -> None:
        """Returns once the broker answers and its controller knows it.

        Raises:
            KafkaFatalError: It ended, or doesn't answer in time; the tail of its log is in the message.
        """
        impatient = {"log_level": 0, "reconnect.backoff.max.ms": 200}
        admin = AdminClient({**impatient, **self.client_config, "bootstrap.servers": self.address})
        deadline = time.monotonic() + START_MS_MAX / 1000
        while time.monotonic() < deadline:
            self.check()
            with suppress(KafkaException):
                if self.number in admin.list_topics(timeout=1).brokers:
                    return
        raise self._failure(f"did not answer within {START_MS_MAX // 1000} s")

    def start(self) -> None:
        """Starts the JVM and waits until it answers."""
        self.spawn()
        self.wait()

    def check(self) -> None:
        """Raises KafkaFatalError, with the tail of the log, unless the JVM runs."""
        if self._guard is None or self._guard.poll() is not None:
            raise self._failure("ended")

    def signal(self, number: signal.Signals) -> None:
        """Passes a signal on to the JVM; SIGSTOP and SIGCONT included."""
        if self._guard is not None and self._guard.stdin is not None:
            with suppress(BrokenPipeError):
                self._guard.stdin.write(bytes([number]))
                self._guard.stdin.flush()

    def kill(self) -> None:
        """SIGKILL: returns once the JVM is gone."""
        self.signal(signal.SIGKILL)
        self.join()

    def stop(self) -> None:
        """SIGTERM: returns once the JVM has ended cleanly, or has been killed after its time."""
        self.signal(signal.SIGTERM)
        self.join()

    def join(self) -> None:
        """Waits for the end of a JVM that was told to end; in vain for long, kills it."""
        if self._guard is None:
            return
        try:
            self._guard.wait(STOP_MS_MAX / 1000)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard = None

    def _failure(self, what: str) -> KafkaFatalError:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return KafkaFatalError(
            "\n  ".join([f"The bundled Kafka (node {self.number}) {what}; its log ends:", *lines])
        )


def free_ports(count: int) -> list[int]:
    """Different ports that nothing listens on at the moment."""
    drawn = secrets.SystemRandom().sample(PORTS, k=20 * count)
    return [port for port in drawn if is_free(port)][:count]


def is_free(port: int) -> bool:
    """Whether a broker could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: ports in TIME_WAIT are free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
