"""Topics that refuse the worker's records: it names the topic, and no good message becomes a dead letter."""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import count

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.in_process_worker import InProcessWorker, joined_worker
from tests.kafka_answers import Api
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat, headers_of
from tests.proxy import Fate, Network, Proxy, Rule
from tests.worker_process import Start
from worker.classifier import Classifier
from worker.commands.broker.embedded import running_broker
from worker.errors import ExitCode, KafkaFatalError
from worker.kafka.publisher import Publisher
from worker.kafka.transaction import CALLS, Event, State
from worker.loop_wiring import monotonic_ms, session_options
from worker.records import Topic
from worker.settings import Need, load_settings

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NEVER_MS = 3_600_000
NO_ALERTS = {"WORKER_POLICY__THRESHOLD": "1"}
COMPACTED = {"cleanup.policy": "compact"}
INVALID_TIMESTAMP, INVALID_PRODUCER_ID_MAPPING, INVALID_RECORD = 32, 49, 87
SLOW = Network(delay_ms=600)
# Instead of a wrong clock: when a record arrives, it is older than the topic accepts. The broker's own markers at
# the end of transactions must be young enough.
OLD = Network(delay_ms=250)
OLDEST_MS = "150"


def made(servers: str, **configs: Mapping[str, str]) -> KafkaEnv:
    """Create topics of one partition; ``configs`` by the output topic's name in ``Topic``."""
    scene = KafkaEnv(servers, "demo", inputs=(1,), partitions=1)
    admin = AdminClient(scene.client)
    for name, config in configs.items():
        topic = scene.outputs[Topic[name]]
        admin.create_topics([NewTopic(topic, 1, config=dict(config))])[topic].result(KAFKA_S_MAX)
    scene.create()
    return scene


def ends(scene: KafkaEnv, classifier: Classifier) -> str:
    """Run the worker until it ends; return its error. Only start offsets are committed."""
    with joined_worker({**scene.environ(), **NO_ALERTS}, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        with pytest.raises(KafkaFatalError) as refusal:
            worker.turn_until_judged(1)
        assert worker.loop.totals.rewinds < 20
    assert refusal.value.exit_code is ExitCode.KAFKA
    assert set(scene.committed().values()) <= {0}
    assert not scene.read(Topic.DEAD_LETTER)
    return str(refusal.value)


@pytest.mark.parametrize("messages", [1, 200])
def test_a_compacted_topic_ends_the_worker_which_names_it(
    messages: int, bootstrap_servers: str, classifier: Classifier
) -> None:
    scene = made(bootstrap_servers, VERDICT=COMPACTED)
    scene.send([chat(f"message {number}") for number in range(messages)])
    said = ends(scene, classifier)
    assert scene.outputs[Topic.VERDICT] in said
    for words in ("WORKER_KAFKA__VERDICT_TOPIC", "without a key", "INVALID_RECORD", "cleanup.policy=delete"):
        assert words in said


def test_single_messages_into_a_compacted_topic_end_the_worker_too(
    bootstrap_servers: str, start_stub: Start
) -> None:
    scene = made(bootstrap_servers, VERDICT=COMPACTED)
    worker = start_stub({**scene.environ(), **NO_ALERTS})
    worker.wait_for("reading from")
    deadline = time.monotonic() + 60
    while worker.exit_code is None:
        assert time.monotonic() < deadline, worker.said
        scene.send([chat("message")])
        time.sleep(0.5)
    assert worker.exit_code == ExitCode.KAFKA, worker.said
    assert scene.outputs[Topic.VERDICT] in worker.said
    assert not scene.read(Topic.DEAD_LETTER)


def test_a_dead_letter_topic_that_refuses_ends_the_worker_which_names_it(
    bootstrap_servers: str, classifier: Classifier
) -> None:
    scene = made(bootstrap_servers, DEAD_LETTER=COMPACTED)
    scene.send([chat("good"), b"no JSON", chat("good too")])
    assert scene.outputs[Topic.DEAD_LETTER] in ends(scene, classifier)


def send_and_judge_for_ever(scene: KafkaEnv, worker: InProcessWorker) -> None:
    for number in count(1):
        scene.send([chat(f"message {number}")])
        worker.turn_until_judged(number + 1)


def test_a_topic_that_is_compacted_while_the_worker_runs_costs_no_message(
    bootstrap_servers: str, classifier: Classifier
) -> None:
    scene = made(bootstrap_servers)
    environ = {**scene.environ(), **NO_ALERTS}
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        scene.configure(Topic.VERDICT, "cleanup.policy", "compact")
        with pytest.raises(KafkaFatalError, match=r"cleanup\.policy=delete"):
            send_and_judge_for_ever(scene, worker)  # a change is in force after a while
    scene.configure(Topic.VERDICT, "cleanup.policy", "delete")
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        worker.turn_until(lambda: scene.committed().items() >= scene.input_ends().items())
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert ledger.dead_letters == 0


def test_one_record_among_accepted_ones_is_a_dead_letter(
    proxied_scene: KafkaEnv, proxy: Proxy, classifier: Classifier
) -> None:
    # The broker's answers are rewritten: Apache Kafka itself refuses no verdict for what is in it.
    scene = proxied_scene
    refused, accepted = (Rule(Api.PRODUCE, Fate.REWRITTEN, code) for code in (INVALID_RECORD, 0))
    # 1. Both records together, without delivery reports. 2. Both together, with reports. 3. The first record alone.
    # 4. The trial: the second record is accepted, then the first one is refused.
    proxy.rules = [refused, refused, refused, accepted, refused]
    scene.send([chat("refused"), chat("accepted")])
    environ = {**scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address), **NO_ALERTS}
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        worker.turn_until_judged(2)
        assert not proxy.rules
        assert worker.loop.totals.rewinds == 4
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    [letter] = scene.read(Topic.DEAD_LETTER)
    assert letter.value() == chat("refused")
    assert dict(headers_of(letter))["moderation.error.reason"] == b"output_refused"


# ---- the clock ---------------------------------------------------------------------------------------------------


def test_with_a_wrong_clock_the_worker_waits_names_topic_and_reason_and_recovers_by_itself(
    proxied_scene: KafkaEnv, proxy: Proxy, start_stub: Start
) -> None:
    scene = proxied_scene
    worker = start_stub({**scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address), **NO_ALERTS})
    worker.wait_for("reading from")
    scene.configure(Topic.VERDICT, "message.timestamp.before.max.ms", OLDEST_MS)
    proxy.network = OLD
    scene.send([chat("message")] * 50)
    worker.wait_for("INVALID_TIMESTAMP")
    held = time.monotonic() + 15
    worker.wait_until(lambda: time.monotonic() >= held)
    said = worker.said
    assert scene.outputs[Topic.VERDICT] in said
    assert "clock" in said
    assert said.count("abortable") == 1, said
    # One line for each reason: over this slow link the look at the committed offsets may time out too.
    assert said.count("no transaction has been committed") <= 3
    proxy.network = Network()
    scene.configure(Topic.VERDICT, "message.timestamp.before.max.ms", str(2**63 - 1))
    scene.wait_until_caught_up(worker)
    worker.wait_for("committed again, after")
    worker.drain()
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert ledger.dead_letters == 0


def test_the_reason_is_logged_also_if_a_broker_refuses_a_batch_before_the_last_output_is_sent(
    proxied_scene: KafkaEnv, proxy: Proxy, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    scene = proxied_scene
    # The first two passes begin a search. So each later pass waits for the first record's answer, and librdkafka
    # then takes no second record: its own error says nothing about the reason.
    proxy.rules = [
        *(2 * [Rule(Api.PRODUCE, Fate.REWRITTEN, INVALID_RECORD)]),
        *(100 * [Rule(Api.PRODUCE, Fate.REWRITTEN, INVALID_TIMESTAMP)]),
    ]
    scene.send([chat("first"), chat("second")])
    environ = {**scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address), **NO_ALERTS}
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        worker.turn_until(lambda: "no transaction has been committed" in caplog.text)
        assert "compare the clocks" in caplog.text
        assert "_STATE" not in caplog.text
        proxy.rules = []
        worker.turn_until_judged(2)
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert ledger.dead_letters == 0


def test_the_reason_is_logged_also_if_the_abort_takes_longer_than_its_time_out(
    proxied_scene: KafkaEnv, proxy: Proxy, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    scene, aborts = proxied_scene, count()

    @contextmanager
    def slow_abort(call: str) -> Iterator[None]:
        if call == CALLS[State.ABORTING]:  # the first call gets no answer in time, the second one gets it
            proxy.network = Network(holds_answers=next(aborts) % 2 == 0)
        yield

    proxy.rules = 100 * [Rule(Api.PRODUCE, Fate.REWRITTEN, INVALID_TIMESTAMP)]
    scene.send([chat("message")])
    environ = {**scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address), **NO_ALERTS}
    with joined_worker(environ, classifier, watch=slow_abort, end_offset_interval_ms=NEVER_MS) as worker:
        worker.turn_until(lambda: "no transaction has been committed" in caplog.text)
        [line] = [line for line in caplog.messages if "no transaction has been committed" in line]
        assert "(INVALID_TIMESTAMP)" in line
        assert "compare the clocks" in line
        assert "Its abort is slow or failed too: " in line
        assert next(aborts) >= 2
        proxy.rules = []
        worker.turn_until_judged(1)
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert ledger.dead_letters == 0


def test_a_signal_during_the_pauses_ends_the_worker_soon(
    proxied_scene: KafkaEnv, proxy: Proxy, start_stub: Start
) -> None:
    scene = proxied_scene
    scene.configure(Topic.VERDICT, "message.timestamp.before.max.ms", OLDEST_MS)
    proxy.network = OLD
    worker = start_stub({**scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address), **NO_ALERTS})
    scene.send([chat("message")] * 50)
    worker.wait_for("no transaction has been committed", seconds_max=60)
    worker.send(signal.SIGTERM)
    assert worker.end(seconds_max=10) == ExitCode.DONE, worker.said


# ---- an expired transactional id ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forgetful() -> Iterator[str]:
    """Run a Kafka that forgets a transactional id after two seconds."""
    properties = {
        "transactional.id.expiration.ms": "2000",
        "transaction.remove.expired.transaction.cleanup.interval.ms": "500",
    }
    with running_broker(extra_properties=properties) as broker:
        yield broker.bootstrap_servers


def test_the_first_message_after_the_transactional_id_has_expired_is_judged_within_seconds(
    forgetful: str, classifier: Classifier
) -> None:
    scene = made(forgetful)
    with joined_worker(scene.environ(), classifier, end_offset_interval_ms=NEVER_MS) as worker:
        for number in range(3):
            scene.send([chat(f"message {number}")])
            began = time.monotonic()
            worker.turn_until_judged(number + 1)
            assert number == 0 or time.monotonic() - began < 5
            expired = time.monotonic() + 5
            worker.turn_until(lambda until=expired: time.monotonic() >= until)  # type: ignore[misc]
        assert worker.session.status().events == {Event.EXPIRED.value: 2}
        assert worker.loop.totals.rewinds == 2
    ledger = scene.ledger()
    assert ledger.clean, ledger.examples
    assert ledger.verdicts == 3


def test_more_expiries_than_fatal_errors_are_allowed_do_not_end_the_worker(
    proxied_scene: KafkaEnv, proxy: Proxy, classifier: Classifier
) -> None:
    scene = proxied_scene
    with joined_worker(
        scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address), classifier, end_offset_interval_ms=NEVER_MS
    ) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        proxy.rules = 5 * [Rule(Api.ADD_OFFSETS_TO_TXN, Fate.REWRITTEN, INVALID_PRODUCER_ID_MAPPING)]
        scene.send([chat("after")])
        worker.turn_until_judged(2)
        assert worker.session.status().events[Event.EXPIRED.value] == 5
    assert scene.ledger().clean


# ---- a slow link -------------------------------------------------------------------------------------------------


def test_over_a_slow_link_the_output_topics_become_known_and_no_call_takes_long(
    proxied_scene: KafkaEnv, proxy: Proxy
) -> None:
    environ = proxied_scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address)
    options = session_options(load_settings(environ, {Need.KAFKA}).settings).publisher
    proxy.network = SLOW
    publisher = Publisher(
        options,
        clock=monotonic_ms,
        watch=lambda _: nullcontext(),
        on_error=lambda _: None,
        on_throttle=lambda _: None,
    )
    longest_ms, deadline_ms = 0, monotonic_ms() + 60_000
    while not publisher.ready():
        assert monotonic_ms() < deadline_ms
        began_ms = monotonic_ms()
        publisher.ready()
        longest_ms = max(longest_ms, monotonic_ms() - began_ms)
    assert longest_ms < 5_000  # two calls of a second, and what a busy machine adds


def test_transactions_over_a_slow_link_need_no_rewind_and_replace_at_most_one_producer(
    proxied_scene: KafkaEnv, proxy: Proxy, classifier: Classifier
) -> None:
    scene = proxied_scene
    environ = scene.environ(KAFKA__BOOTSTRAP_SERVERS=proxy.address, KAFKA__SESSION_TIMEOUT_MS="30000")
    with joined_worker(environ, classifier, end_offset_interval_ms=NEVER_MS) as worker:
        scene.send([chat("before")])
        worker.turn_until_judged(1)
        proxy.network = SLOW
        producers = proxy.asked[Api.INIT_PRODUCER_ID]
        for number in range(3):
            scene.send([chat(f"message {number}")])
            worker.turn_until_judged(number + 2)
        assert worker.loop.totals.rewinds == 0
        # The first transaction may be slow enough to make the producer suspect.
        assert proxy.asked[Api.INIT_PRODUCER_ID] - producers <= 1
        proxy.network = Network()
    assert scene.ledger().clean
