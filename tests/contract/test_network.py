"""A network that is slow, that cuts connections, and that delivers late: no message is lost or doubled."""

import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.in_process_worker import InProcessWorker, joined_worker
from tests.kafka_answers import Api
from tests.kafka_env import KafkaEnv, chat
from tests.proxy import Fate, Network, Proxy, Rule
from tests.worker_process import Start
from worker.classifier import Classifier
from worker.errors import DataProtectionError, ExitCode

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NEVER_MS = 3_600_000
# A rewind waits for the current fetch.
IMPATIENT = '{"consumer.fetch.wait.max.ms": "50", "reconnect.backoff.max.ms": "500"}'
HURRIED = {"KAFKA__TRANSACTION_TIMEOUT_MS": "2000"}  # how long a transaction waits for an answer that never comes
FORGETS_IDLE_MS = 10_000
IDLE = {"connections.max.idle.ms": "3000"}
STALE_EPOCH = 47  # INVALID_PRODUCER_EPOCH: the broker has refused the request


@pytest.fixture
def scene(proxied_scene: KafkaEnv) -> KafkaEnv:
    return proxied_scene


def behind(proxy: Proxy, scene: KafkaEnv, **changes: str) -> dict[str, str]:
    return scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address, KAFKA__PROPERTIES=IMPATIENT, **changes)


def caught_up(scene: KafkaEnv) -> bool:
    return scene.committed().items() >= scene.input_ends().items()


def assert_clean(scene: KafkaEnv) -> None:
    ledger = scene.ledger()
    assert ledger.clean, (str(ledger), ledger.examples)
    assert ledger.verdicts == ledger.inputs > 0


@contextmanager
def outage(proxy: Proxy, network: Network, seconds: float) -> Iterator[None]:
    """Change the network for some seconds. If it refuses new connections, cut the old ones too."""

    def clear() -> None:
        proxy.network = Network()

    proxy.network = network
    if network.refuses:
        proxy.cut()
    timer = threading.Timer(seconds, clear)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def busy_worker(environ: Mapping[str, str], scene: KafkaEnv, classifier: Classifier) -> Iterator[InProcessWorker]:
    """Give a worker in the middle of many small transactions."""
    small = {"WORKER_BATCH__RECORDS_MAX": "5", "WORKER_BATCH__COMMIT_MS_MAX": "0"}
    with joined_worker({**environ, **small}, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        scene.send([chat(f"message {number}") for number in range(100)])
        worker.turn_until_judged(10)
        yield worker


# ---- all connections ---------------------------------------------------------------------------------------------


def test_a_slow_network_only_takes_time(scene: KafkaEnv, proxy: Proxy, classifier: Classifier) -> None:
    with busy_worker(behind(proxy, scene), scene, classifier) as worker:
        proxy.network = Network(delay_ms=200)
        worker.turn_until_judged(worker.loop.totals.records + 5)
        proxy.network = Network()
        worker.turn_until_judged(100)
        assert worker.loop.totals.rewinds == 0
    assert_clean(scene)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(Network(refuses=True), id="all connections end"),
        pytest.param(Network(holds_requests=True), id="nothing arrives"),
        pytest.param(Network(holds_answers=True), id="nothing comes back"),
    ],
)
def test_a_worker_goes_on_after_a_network_outage(
    network: Network, scene: KafkaEnv, proxy: Proxy, classifier: Classifier
) -> None:
    with busy_worker(behind(proxy, scene), scene, classifier) as worker:
        with outage(proxy, network, 2):
            worker.turn_until(lambda: caught_up(scene))
        scene.send([chat("after")])
        worker.turn_until(lambda: caught_up(scene))
    assert_clean(scene)


# ---- connections that are idle -----------------------------------------------------------------------------------


def test_a_verdict_after_an_idle_time_is_prompt_although_the_network_drops_idle_connections(
    scene: KafkaEnv, proxy: Proxy, classifier: Classifier
) -> None:
    """Only the producer is idle. A client that closes idle connections itself never writes to a dropped one."""
    properties = json.dumps({"consumer.fetch.wait.max.ms": "50", **IDLE})
    environ = scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address, KAFKA__PROPERTIES=properties)
    with joined_worker(environ, classifier) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        proxy.network = Network(forgets_idle_ms=FORGETS_IDLE_MS)
        silence = time.monotonic() + FORGETS_IDLE_MS / 1000 + 2
        worker.turn_until(lambda: time.monotonic() > silence)
        scene.send([chat("after")])
        worker.turn_until(lambda: worker.loop.totals.records >= 2, seconds_max=5)
        assert worker.loop.totals.rewinds == 0
    assert_clean(scene)
    assert not proxy.forgotten.keys() & set(Api), f"requests of the producer were lost: {proxy.forgotten}"


# ---- one request -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "fate"),
    [
        (Api.PRODUCE, Fate.CUT_AFTER),
        (Api.ADD_PARTITIONS_TO_TXN, Fate.CUT_AFTER),
        (Api.ADD_OFFSETS_TO_TXN, Fate.CUT_BEFORE),
        (Api.TXN_OFFSET_COMMIT, Fate.CUT_BEFORE),
        (Api.TXN_OFFSET_COMMIT, Fate.CUT_AFTER),
        (Api.TXN_OFFSET_COMMIT, Fate.UNANSWERED),
        (Api.END_TXN, Fate.CUT_BEFORE),
        (Api.END_TXN, Fate.CUT_AFTER),
        (Api.END_TXN, Fate.SWALLOWED),
        (Api.END_TXN, Fate.UNANSWERED),
    ],
    ids=lambda one: one.name,
)
def test_a_worker_goes_on_after_the_network_has_lost_a_request_or_an_answer(
    api: Api, fate: Fate, scene: KafkaEnv, proxy: Proxy, classifier: Classifier
) -> None:
    with joined_worker(behind(proxy, scene, **HURRIED), classifier, end_offset_interval_ms=NEVER_MS) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        proxy.rules = [Rule(api, fate)]
        scene.send([chat("in the middle")])
        worker.turn_until(lambda: not proxy.rules)
        scene.send([chat("after")])
        worker.turn_until(lambda: caught_up(scene))
    assert_clean(scene)


# ---- fetches that are not answered -------------------------------------------------------------------------------


def test_a_partition_that_cannot_be_fetched_ends_the_worker_and_is_named(
    scene: KafkaEnv, proxy: Proxy, classifier: Classifier
) -> None:
    with joined_worker(
        behind(proxy, scene), classifier, end_offset_interval_ms=100, stall_timeout_ms=500
    ) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        proxy.rules = swallowed = [Rule(Api.FETCH, Fate.SWALLOWED)] * 1000
        worker.turn_until(lambda: len(swallowed) < 1000)  # earlier requests have been answered
        scene.send([chat("after")])
        with pytest.raises(
            DataProtectionError, match=r"\[0\] does not move, and joining the group again"
        ) as refusal:
            worker.turn_until_judged(2)
        proxy.rules = []
    assert refusal.value.exit_code is ExitCode.PROTECTED
    with joined_worker(behind(proxy, scene), classifier) as worker:
        worker.turn_until_judged(1)
    assert_clean(scene)


# ---- a request that arrives late ---------------------------------------------------------------------------------
#
# 1. A connection ends. The client sends its request again over the next connection, and goes on.
# 2. The first copy of the request arrives in the middle of the next transaction of the same producer.
# 3. An EndTxn would end that transaction too early: offsets without outputs, or outputs without offsets
# (KAFKA-17754).
#    An offset commit would move the group back.


@pytest.mark.parametrize("api", [Api.END_TXN, Api.TXN_OFFSET_COMMIT], ids=lambda api: api.name)
@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_request_that_arrives_late_does_not_affect_the_next_transaction(
    api: Api, call: str, scene: KafkaEnv, proxy: Proxy, classifier: Classifier
) -> None:
    due: set[str] = set()
    codes: list[int] = []

    @contextmanager
    def watch(name: str) -> Iterator[None]:
        if name in due:
            codes.extend(proxy.deliver())
        yield

    environ = behind(proxy, scene)
    with joined_worker(environ, classifier, watch=watch, end_offset_interval_ms=NEVER_MS) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        proxy.rules = [Rule(api, Fate.LATE)]
        scene.send([chat("in the middle")])
        worker.turn_until_judged(2)
        due.add(call)
        scene.send([chat(f"after {number}") for number in range(3)])
        worker.turn_until(lambda: bool(codes) and caught_up(scene))
    scene.send([chat("for the next worker")])
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        worker.turn_until(lambda: caught_up(scene))
    assert_clean(scene)
    assert codes == [STALE_EPOCH]


# ---- a process ---------------------------------------------------------------------------------------------------


def test_a_worker_that_gets_sigterm_during_a_network_outage_ends_soon_and_the_next_worker_goes_on(
    scene: KafkaEnv, proxy: Proxy, start_stub: Start
) -> None:
    environ = behind(
        proxy, scene, KAFKA__GROUP_INSTANCE_ID=scene.group
    )  # the next worker need not wait for the session time-out
    worker = start_stub(environ)
    scene.send([chat("before")])
    scene.wait_until_caught_up(worker)
    proxy.rules = [Rule(Api.ADD_OFFSETS_TO_TXN, Fate.SWALLOWED)]
    scene.send([chat("in the middle")])
    worker.wait_until(lambda: not proxy.rules)
    worker.send(signal.SIGTERM)
    assert worker.end(seconds_max=10) == ExitCode.KAFKA, worker.said
    assert "send_offsets_to_transaction does not return" in worker.said
    scene.wait_until_caught_up(start_stub(environ))
    assert_clean(scene)
