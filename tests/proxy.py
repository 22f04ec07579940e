"""A proxy between the worker and a real Kafka. It reads the requests, and a test says which of them fail.

The broker has a listener for the proxy, and advertises the proxy's address there. So a client that connects to the
proxy sends all its requests through the proxy. The test's own clients connect to the broker directly.
"""

import asyncio
import math
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

from tests.kafka_answers import Api, error_answer, error_codes, rewritten
from worker.commands.broker.embedded import Broker, running_broker
from worker.commands.broker.node import HOST, free_ports

LOOK_AGAIN_S = 0.005
DELIVERY_S_MAX = 10


class Fate(Enum):
    """What happens to a request."""

    REWRITTEN = "the broker handles it, and its answer goes back with another error code"
    REFUSED = "the broker never sees it, and an error code goes back"
    SWALLOWED = "the broker never sees it, and nothing goes back"
    UNANSWERED = "the broker handles it, and nothing goes back"
    CUT_BEFORE = "the connection ends, and the broker never sees it"
    CUT_AFTER = "the broker handles it, and the connection ends before the answer goes back"
    LATE = "the connection ends, and the broker sees it when the test calls ``deliver``"


@dataclass(frozen=True, slots=True)
class Rule:
    """The fate of the next request of an API; ``code`` is the error code, if the fate needs one."""

    api: Api
    fate: Fate
    code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The state of all connections. As with TCP, held bytes arrive when they are not held any more.

    Attributes:
        delay_ms: Delay in each direction, in milliseconds.
        holds_requests: Whether requests are held before the broker.
        holds_answers: Whether answers are held before the client.
        refuses: Whether new connections are refused.
        forgets_idle_ms: After this idle time, drop everything on a connection and tell neither side, as a NAT
            gateway does; 0 means never.
    """

    delay_ms: int = 0
    holds_requests: bool = False
    holds_answers: bool = False
    refuses: bool = False
    forgets_idle_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    api: int
    version: int
    correlation: bytes
    rule: Rule | None

    @property
    def fate(self) -> Fate | None:
        return None if self.rule is None else self.rule.fate

    @property
    def harmless(self) -> bytes:
        """A request for the broker's versions, sent instead, so that the answers keep their order."""
        return struct.pack(">hh4sh", 18, 0, self.correlation, -1)

    def answered(self, answer: bytes) -> bytes:
        """Return the answer, with the code of the rule if there is one."""
        if self.rule is not None and self.fate is Fate.REFUSED:
            return error_answer(self.api, self.version, self.correlation, self.rule.code)
        if self.rule is not None and self.fate is Fate.REWRITTEN:
            return rewritten(self.api, self.version, answer, self.rule.code)
        return answer


@dataclass(eq=False, slots=True, kw_only=True)
class _Connection:
    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    expected: deque[_Request] = field(default_factory=deque)
    used_s: float = field(default_factory=time.monotonic)
    is_forgotten: bool = False

    def passes(self, forgets_idle_ms: int) -> bool:
        """Record that bytes arrive, and return whether the network lets them through."""
        now_s = time.monotonic()
        self.is_forgotten |= 0 < forgets_idle_ms <= (now_s - self.used_s) * 1000
        self.used_s = now_s
        return not self.is_forgotten

    def cut(self) -> None:
        self.client.transport.abort()
        self.broker.transport.abort()


class Proxy:
    """A proxy between its own port and the broker's port.

    Attributes:
        address: The address for clients.
        rules: The rules that no request has used yet. A request uses the first rule for its API.
        asked: Number of requests of each API.
        network: The current state of the connections.
        forgotten: Number of requests of each API that were dropped on connections that were idle for too long.
    """

    def __init__(self, port: int, broker_port: int) -> None:
        self.address = f"{HOST}:{port}"
        self.rules: list[Rule] = []
        self.asked: Counter[int] = Counter()
        self.network = Network()
        self.forgotten: Counter[int] = Counter()
        self._port = port
        self._broker_port = broker_port
        self._late: list[tuple[_Request, bytes]] = []
        self._connections: list[_Connection] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop

    def cut(self) -> None:
        """Close all connections."""
        for connection in list(self._connections):
            self._loop.call_soon_threadsafe(connection.cut)

    def deliver(self) -> list[int]:
        """Send the late requests to the broker; return the broker's error codes."""
        late, self._late = self._late, []
        given = []
        for request, frame in late:
            with socket.create_connection((HOST, self._broker_port), DELIVERY_S_MAX) as broker:
                broker.sendall(len(frame).to_bytes(4) + frame)
                with broker.makefile("rb") as answers:
                    answer = answers.read(int.from_bytes(answers.read(4)))
            given += error_codes(request.api, request.version, answer)
        return given

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen. An error of the proxy itself, such as an unknown version of an API, is raised at the end."""
        started, ended = threading.Event(), asyncio.Event()

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            server = await asyncio.start_server(self._serve, HOST, self._port)
            started.set()
            await ended.wait()
            server.close()
            self.network = Network()
            for connection in self._connections:
                connection.cut()
            await asyncio.gather(*self._tasks)

        with ThreadPoolExecutor(1, "proxy") as thread:
            serving = thread.submit(asyncio.run, serve())
            assert started.wait(DELIVERY_S_MAX), serving
            try:
                yield
            finally:
                self._loop.call_soon_threadsafe(ended.set)
                serving.result()

    async def _serve(self, requests: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self.network.refuses:
            client.transport.abort()
            return
        answers, broker = await asyncio.open_connection(HOST, self._broker_port)
        connection = _Connection(client=client, broker=broker)
        self._connections.append(connection)
        for pump in (self._pass_requests(requests, connection), self._pass_answers(answers, connection)):
            self._tasks.append(asyncio.create_task(pump))

    async def _pass_requests(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        with closing(connection.broker):
            send = self._sender(connection.broker, lambda: self.network.holds_requests)
            async for frame in _frames(reader):
                if not connection.passes(self.network.forgets_idle_ms):
                    self.forgotten[int.from_bytes(frame[:2])] += 1
                    continue
                request = self._request(frame)
                if request.fate is Fate.LATE:
                    self._late.append((request, frame))
                if request.fate in (Fate.CUT_BEFORE, Fate.LATE):
                    connection.cut()
                elif request.fate is not Fate.SWALLOWED:
                    connection.expected.append(request)
                    await send(request.harmless if request.fate is Fate.REFUSED else frame)

    async def _pass_answers(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        with closing(connection.client):
            send = self._sender(connection.client, lambda: self.network.holds_answers)
            async for answer in _frames(reader):
                if not connection.passes(self.network.forgets_idle_ms):
                    continue
                request = connection.expected.popleft()
                assert answer.startswith(request.correlation), "answers come in the order of the requests"
                if request.fate is Fate.CUT_AFTER:
                    connection.cut()
                elif request.fate is not Fate.UNANSWERED:
                    await send(request.answered(answer))

    def _request(self, frame: bytes) -> _Request:
        api, version = struct.unpack_from(">hh", frame)
        self.asked[api] += 1
        rule = next((rule for rule in self.rules if rule.api == api), None)
        if rule is not None:
            self.rules.remove(rule)
        return _Request(api=api, version=version, correlation=frame[4:8], rule=rule)

    def _sender(self, to: asyncio.StreamWriter, held: Callable[[], bool]) -> Callable[[bytes], Awaitable[None]]:
        due_s = 0.0

        async def send(frame: bytes) -> None:
            nonlocal due_s
            while held():  # noqa: ASYNC110 - another thread changes the state
                await asyncio.sleep(LOOK_AGAIN_S)
            # Never before an earlier frame, also when the delay has become shorter.
            due_s = max(self._loop.time() + self.network.delay_ms / 1000, math.nextafter(due_s, math.inf))
            self._loop.call_at(due_s, to.write, len(frame).to_bytes(4) + frame)

        return send


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            size = await reader.readexactly(4)
            yield await reader.readexactly(int.from_bytes(size))


@contextmanager
def proxied_broker() -> Iterator[tuple[Broker, Proxy]]:
    """Run a Kafka with two addresses: its own, and the proxy's."""
    own, controller, behind, front = free_ports(4)
    proxy = Proxy(front, behind)
    properties = {
        "listeners": f"PLAINTEXT://{HOST}:{own},CONTROLLER://{HOST}:{controller},PROXIED://{HOST}:{behind}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{own},PROXIED://{proxy.address}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
    }
    with running_broker(port=own, extra_properties=properties) as broker, proxy.running():
        yield broker, proxy
