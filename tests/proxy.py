"""A proxy between the worker and a real Kafka that reads the requests, so that a test says which meets bad luck.

The broker has a listener for it, and advertises the proxy's address there: a client that begins at the proxy never
leaves it, while the test's own clients go straight to the broker.
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

from tests.kafka_answers import Api, codes, made_up, rewritten
from worker.commands.broker.embedded import Broker, running_broker
from worker.commands.broker.node import HOST, free_ports

LOOK_AGAIN_S = 0.005
DELIVERY_S_MAX = 10


class Fate(Enum):
    """What becomes of a request."""

    REWRITTEN = "the broker does it, and its answer goes back with another error code"
    REFUSED = "the broker never sees it, and an error code goes back"
    SWALLOWED = "the broker never sees it, and nothing goes back"
    UNANSWERED = "the broker does it, and nothing goes back"
    CUT_BEFORE = "the connection ends, and the broker never sees it"
    CUT_AFTER = "the broker does it, and the connection ends before the answer goes back"
    LATE = "the connection ends, and the broker sees it when the test lets it arrive, by ``deliver``"


@dataclass(frozen=True, slots=True)
class Rule:
    """For one request of that kind; ``code`` is the error's, where the fate has one."""

    api: Api
    fate: Fate
    code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How all connections fare. What is held arrives when it no longer is, as TCP has it.

    Attributes:
        delay_ms: Each way.
        holds_requests: Nothing reaches the broker.
        holds_answers: Nothing comes back.
        refuses: No new connections.
        forgets_idle_ms: Drop everything on a connection that was idle for this long, and close it for nobody, as a
            NAT gateway does; 0: never.
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
        """What is asked in its place, so that answers keep their order: the broker's versions."""
        return struct.pack(">hh4sh", 18, 0, self.correlation, -1)

    def answered(self, answer: bytes) -> bytes:
        """The answer, with the rule's code if it has one."""
        if self.rule is not None and self.fate is Fate.REFUSED:
            return made_up(self.api, self.version, self.correlation, self.rule.code)
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
        """Note that something comes, and say whether the network lets it through."""
        now_s = time.monotonic()
        self.is_forgotten |= 0 < forgets_idle_ms <= (now_s - self.used_s) * 1000
        self.used_s = now_s
        return not self.is_forgotten

    def cut(self) -> None:
        self.client.transport.abort()
        self.broker.transport.abort()


class Proxy:
    """Between a port of its own and the broker's.

    Attributes:
        address: What a client connects to.
        rules: Those that no request has met yet; the first that fits counts.
        asked: How often each api has been asked.
        network: How it is at the moment.
        forgotten: By api, how many requests it has dropped on connections that were idle for too long.
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
        """Ends all connections."""
        for connection in list(self._connections):
            self._loop.call_soon_threadsafe(connection.cut)

    def deliver(self) -> list[int]:
        """Lets what is late arrive; gives the broker's error codes."""
        late, self._late = self._late, []
        given = []
        for request, frame in late:
            with socket.create_connection((HOST, self._broker_port), DELIVERY_S_MAX) as broker:
                broker.sendall(len(frame).to_bytes(4) + frame)
                with broker.makefile("rb") as answers:
                    answer = answers.read(int.from_bytes(answers.read(4)))
            given += codes(request.api, request.version, answer)
        return given

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listens; a fault of its own, a version that it doesn't know for one, is raised at the end."""
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
            while held():  # noqa: ASYNC110 - another thread says when
                await asyncio.sleep(LOOK_AGAIN_S)
            # Never before the one ahead, also when the delay has become shorter.
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
    """A Kafka with two addresses: its own, and the proxy's."""
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
