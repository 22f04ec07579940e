"""Each class of errors of a transaction, from a real Kafka. A proxy rewrites the answers.

After each error, every message has one verdict, whether the transaction was committed or not. The worker goes on by
itself, or it ends and says what to do.
"""

from collections import Counter
from collections.abc import Mapping

import pytest
from confluent_kafka import KafkaError

from tests.in_process_worker import InProcessWorker, joined_worker
from tests.kafka_answers import Api
from tests.kafka_env import KafkaEnv, chat
from tests.proxy import Fate, Proxy, Rule
from worker.classifier import Classifier
from worker.errors import ExitCode, KafkaFatalError
from worker.kafka.transaction import Event

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NEVER_MS = 3_600_000
SHORT_FETCHES = '{"consumer.fetch.wait.max.ms": "50"}'  # a rewind waits for the fetch that is under way

RETRIED = "NOT_COORDINATOR COORDINATOR_LOAD_IN_PROGRESS CONCURRENT_TRANSACTIONS"
MEMBERSHIP = "ILLEGAL_GENERATION UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS STALE_MEMBER_EPOCH"
LOST_ANSWER = "REQUEST_TIMED_OUT UNKNOWN"

# The events that the worker counts. From them follows whether a new producer must settle the transaction, and
# whether the worker reads everything again.
GOES_ON: list[tuple[list[Event], Api, Fate, str]] = [
    ([], Api.ADD_PARTITIONS_TO_TXN, Fate.REWRITTEN, "CONCURRENT_TRANSACTIONS"),
    ([], Api.ADD_OFFSETS_TO_TXN, Fate.REWRITTEN, "NOT_COORDINATOR"),
    ([], Api.TXN_OFFSET_COMMIT, Fate.REWRITTEN, RETRIED),
    ([], Api.END_TXN, Fate.REWRITTEN, RETRIED),
    ([], Api.PRODUCE, Fate.REWRITTEN, "NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT"),
    ([Event.ABORTABLE], Api.PRODUCE, Fate.REWRITTEN, "TRANSACTION_ABORTABLE INVALID_RECORD"),
    ([Event.ABORTABLE], Api.ADD_PARTITIONS_TO_TXN, Fate.REWRITTEN, "TRANSACTION_ABORTABLE"),
    ([Event.ABORTABLE], Api.ADD_OFFSETS_TO_TXN, Fate.REWRITTEN, "TRANSACTION_ABORTABLE"),
    ([Event.ABORTABLE], Api.TXN_OFFSET_COMMIT, Fate.REWRITTEN, f"{MEMBERSHIP} TRANSACTION_ABORTABLE UNKNOWN"),
    ([Event.ABORTABLE], Api.END_TXN, Fate.REFUSED, "TRANSACTION_ABORTABLE"),
    # The broker has committed, but its answer asks for an abort. The abort fails, since nothing is open.
    ([Event.ABORTABLE, Event.FATAL], Api.END_TXN, Fate.REWRITTEN, "TRANSACTION_ABORTABLE"),
    ([Event.UNKNOWN], Api.END_TXN, Fate.REWRITTEN, LOST_ANSWER),  # the broker has committed
    ([Event.UNKNOWN], Api.END_TXN, Fate.REFUSED, LOST_ANSWER),  # the broker has not committed
    ([Event.FATAL], Api.ADD_PARTITIONS_TO_TXN, Fate.REWRITTEN, "INVALID_TXN_STATE"),
    ([Event.FATAL], Api.ADD_OFFSETS_TO_TXN, Fate.REWRITTEN, "INVALID_TXN_STATE"),
    ([Event.FATAL], Api.TXN_OFFSET_COMMIT, Fate.REWRITTEN, "INVALID_TXN_STATE"),
    ([Event.EXPIRED], Api.TXN_OFFSET_COMMIT, Fate.REWRITTEN, "INVALID_PRODUCER_ID_MAPPING"),
    ([Event.EXPIRED], Api.ADD_OFFSETS_TO_TXN, Fate.REWRITTEN, "INVALID_PRODUCER_ID_MAPPING"),
    ([Event.EXPIRED], Api.ADD_PARTITIONS_TO_TXN, Fate.REWRITTEN, "INVALID_PRODUCER_ID_MAPPING"),
    ([Event.EXPIRED], Api.END_TXN, Fate.REWRITTEN, "INVALID_PRODUCER_ID_MAPPING"),
    ([Event.EXPIRED], Api.END_TXN, Fate.REFUSED, "INVALID_PRODUCER_ID_MAPPING"),
    ([Event.FATAL], Api.END_TXN, Fate.REWRITTEN, "INVALID_TXN_STATE"),
    ([Event.FATAL], Api.END_TXN, Fate.REFUSED, "INVALID_TXN_STATE"),
]

FENCED_CODES = "PRODUCER_FENCED INVALID_PRODUCER_EPOCH"
SHARED_ID = "another live process uses the transactional id"
INSTANCE = "its own WORKER_KAFKA__GROUP_INSTANCE_ID"
GROUP = "(WORKER_KAFKA__GROUP_ID)"
TRANSACTIONAL_ID = "(WORKER_KAFKA__TRANSACTIONAL_ID)"
RECURS = "fatal errors of the producer come back"
TOPICS = "WRITE on the verdict, alert and dead-letter topics ("

STOPS = [
    (SHARED_ID, Api.INIT_PRODUCER_ID, Fate.REWRITTEN, "PRODUCER_FENCED"),
    (SHARED_ID, Api.PRODUCE, Fate.REWRITTEN, "INVALID_PRODUCER_EPOCH"),
    (SHARED_ID, Api.ADD_OFFSETS_TO_TXN, Fate.REWRITTEN, "INVALID_PRODUCER_EPOCH"),
    (SHARED_ID, Api.TXN_OFFSET_COMMIT, Fate.REWRITTEN, FENCED_CODES),
    (SHARED_ID, Api.END_TXN, Fate.REWRITTEN, "PRODUCER_FENCED"),
    (SHARED_ID, Api.END_TXN, Fate.REFUSED, "INVALID_PRODUCER_EPOCH"),
    (INSTANCE, Api.TXN_OFFSET_COMMIT, Fate.REWRITTEN, "FENCED_INSTANCE_ID"),
    (GROUP, Api.ADD_OFFSETS_TO_TXN, Fate.REWRITTEN, "GROUP_AUTHORIZATION_FAILED"),
    (GROUP, Api.TXN_OFFSET_COMMIT, Fate.REWRITTEN, "GROUP_AUTHORIZATION_FAILED"),
    (TOPICS, Api.PRODUCE, Fate.REWRITTEN, "TOPIC_AUTHORIZATION_FAILED"),
    (TOPICS, Api.ADD_PARTITIONS_TO_TXN, Fate.REWRITTEN, "TOPIC_AUTHORIZATION_FAILED"),
    (TRANSACTIONAL_ID, Api.INIT_PRODUCER_ID, Fate.REWRITTEN, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    (TRANSACTIONAL_ID, Api.END_TXN, Fate.REFUSED, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    (RECURS, Api.TXN_OFFSET_COMMIT, Fate.REWRITTEN, "INVALID_TXN_STATE"),
]


@pytest.fixture
def scene(proxied_scene: KafkaEnv) -> KafkaEnv:
    return proxied_scene


@pytest.fixture
def environ(scene: KafkaEnv, proxy: Proxy) -> dict[str, str]:
    return scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address, KAFKA__PROPERTIES=SHORT_FETCHES)


def rule(api: Api, fate: Fate, code: str) -> Rule:
    return Rule(api, fate, getattr(KafkaError, code))


def turn_until_caught_up(worker: InProcessWorker, scene: KafkaEnv) -> None:
    worker.turn_until(lambda: scene.committed().items() >= scene.input_ends().items())


@pytest.mark.parametrize(
    ("events", "rule"),
    [
        pytest.param(events, rule(api, fate, code), id=f"{api.name} {fate.name} {code}")
        for events, api, fate, codes in GOES_ON
        for code in codes.split()
    ],
)
def test_a_worker_goes_on_after(
    *,
    events: list[Event],
    rule: Rule,
    scene: KafkaEnv,
    proxy: Proxy,
    environ: Mapping[str, str],
    classifier: Classifier,
) -> None:
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        producers = proxy.asked[Api.INIT_PRODUCER_ID]
        proxy.rules = [rule]
        scene.send([chat("in the middle")])
        worker.turn_until(lambda: not proxy.rules)
        scene.send([chat("after")])
        turn_until_caught_up(worker, scene)
        assert worker.session.status().events == Counter(event.value for event in events)
        assert worker.loop.totals.rewinds == bool(events)
        replaced = proxy.asked[Api.INIT_PRODUCER_ID] > producers
        assert replaced == bool({Event.UNKNOWN, Event.FATAL, Event.EXPIRED}.intersection(events))
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert ledger.verdicts == 3


@pytest.mark.parametrize("code", RETRIED.split())
def test_a_worker_whose_producer_cannot_be_initialised_immediately_tries_again(
    code: str, scene: KafkaEnv, proxy: Proxy, environ: Mapping[str, str], classifier: Classifier
) -> None:
    proxy.rules = [rule(Api.INIT_PRODUCER_ID, Fate.REWRITTEN, code)]
    scene.send([chat("message")])
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        worker.turn_until_judged(1)
        assert not proxy.rules
        assert worker.loop.totals.rewinds == 0
    assert scene.ledger().clean


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        pytest.param(words, rule(api, fate, code), id=f"{api.name} {fate.name} {code}")
        for words, api, fate, codes in STOPS
        for code in codes.split()
    ],
)
def test_a_worker_ends_and_says_why_and_the_next_worker_goes_on_after(
    *, words: str, rule: Rule, scene: KafkaEnv, proxy: Proxy, environ: Mapping[str, str], classifier: Classifier
) -> None:
    scene.send([chat("before")])
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        if rule.api is not Api.INIT_PRODUCER_ID:
            worker.turn_until_judged(1)
        proxy.rules = 5 * [rule]
        scene.send([chat("in the middle")])
        with pytest.raises(KafkaFatalError) as refusal:
            worker.turn_until_judged(2)
        proxy.rules = []
    assert refusal.value.exit_code is ExitCode.KAFKA
    assert words in str(refusal.value)
    scene.send([chat("after")])
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        turn_until_caught_up(worker, scene)
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert ledger.verdicts == 3
