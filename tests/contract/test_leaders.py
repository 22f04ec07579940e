"""Partitions without a leader, brokers that come back, slow links: the other partitions are judged."""

import logging
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from tests.in_process_worker import joined_worker
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat
from tests.proxy import Network, Proxy
from worker.classifier import Classifier
from worker.commands.broker.embedded import QUICK_RETURN, Broker, running_broker
from worker.kafka.end_offsets import EndOffsetQuery, EndOffsets
from worker.kafka.offset_reset import OffsetReset
from worker.kafka.ownership import Ownership
from worker.kafka.start_offsets import StartOffsets
from worker.records import Partition, Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

log = logging.getLogger(__name__)

EACH = 50


@pytest.fixture(scope="module")
def brokers() -> Iterator[Broker]:
    """Three brokers. Each test leaves all of them running."""
    with running_broker(nodes=3, extra_properties=QUICK_RETURN) as three:
        yield three


def spread(brokers: Broker) -> KafkaEnv:
    """Create an input topic with one partition on each node, without further replicas. The outputs have three."""
    scene = KafkaEnv(brokers.bootstrap_servers, "demo")
    [topic] = scene.inputs
    scene.create(without=[topic])
    scene.spread([1, 2, 3])
    return scene


def produce(scene: KafkaEnv, name: str, each: int) -> None:
    producer = Producer(scene.client)
    for number in range(3 * each):
        key = f"{name}-{number % 3}-{number // 3}"
        producer.produce(next(iter(scene.inputs)), chat(name), key=key, partition=number % 3)
    assert producer.flush(KAFKA_S_MAX) == 0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_the_other_partitions_are_judged_while_one_partition_has_no_leader(
    protocol: str, brokers: Broker, classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    scene = spread(brokers)
    produce(scene, "message", EACH)
    brokers.nodes[2].kill()
    try:
        with (
            caplog.at_level(logging.INFO),
            joined_worker(scene.environ(KAFKA__GROUP_PROTOCOL=protocol), classifier) as worker,
        ):
            worker.turn_until_judged(2 * EACH)
            worker.turn_until(lambda: "no leader answers for " in caplog.text)
            assert f"no leader answers for {next(iter(scene.inputs))}[2], for" in caplog.text
            brokers.nodes[2].start()
            began = time.monotonic()
            worker.turn_until_judged(3 * EACH)
            log.info("judged %.1f s after the node came back", time.monotonic() - began)
    finally:
        brokers.nodes[2].start()
    assert scene.ledger().clean


def test_a_recreated_topic_with_a_lower_leader_epoch_is_read_immediately(
    brokers: Broker, classifier: Classifier
) -> None:
    # A client that keeps the old log's leader epoch takes the new log's metadata for old, and never fetches.
    scene = spread(brokers)
    [topic] = scene.inputs
    for node in brokers.nodes:
        node.stop()
        node.start()
    produce(scene, "old", EACH)
    admin = AdminClient(scene.client)
    with joined_worker(scene.environ(), classifier) as worker:
        worker.turn_until_judged(3 * EACH)
        admin.delete_topics([topic])[topic].result(KAFKA_S_MAX)
        scene.spread([1, 2, 3])
        produce(scene, "new", 2 * EACH)
        began = time.monotonic()
        worker.turn_until(lambda: worker.loop.totals.records >= 9 * EACH)
        log.info("judged %.1f s after the topic was recreated", time.monotonic() - began)
    found = Counter((message.key() or b"").decode() for message in scene.read(Topic.VERDICT))
    assert len(found) == 9 * EACH
    assert set(found.values()) == {1}


@pytest.mark.parametrize("one_way_ms", [600])
def test_start_offsets_are_found_over_a_link_with_round_trips_longer_than_a_second(
    one_way_ms: int, proxied_scene: KafkaEnv, proxy: Proxy
) -> None:
    partition = Partition(next(iter(proxied_scene.inputs)), 0)
    starts = StartOffsets(
        {"bootstrap.servers": proxy.address}, group_id=proxied_scene.group, reset=OffsetReset(time_ms=0)
    )
    proxy.network = Network(delay_ms=one_way_ms)
    deadline = time.monotonic() + 60
    longest_s = 0.0
    chosen: dict[Partition, int] = {}
    while not chosen:
        began = time.monotonic()
        assert began < deadline
        chosen = starts.find(time.monotonic_ns() // 1_000_000, {partition}, set()).chosen
        longest_s = max(longest_s, time.monotonic() - began)
    proxy.network = Network()
    assert chosen == {partition: 0}
    assert longest_s < 1


def test_end_offsets_are_found_over_a_link_with_round_trips_of_three_seconds(
    proxied_scene: KafkaEnv, proxy: Proxy
) -> None:
    partition, owned = Partition(next(iter(proxied_scene.inputs)), 0), Ownership()
    owned.place({partition: 0})
    query = EndOffsetQuery({"bootstrap.servers": proxy.address}, interval_ms=100)
    proxy.network = Network(delay_ms=1_500)
    deadline = time.monotonic() + 60
    ends: dict[Partition, EndOffsets] = {}
    while not ends:
        assert time.monotonic() < deadline
        ends = query.answers(time.monotonic_ns() // 1_000_000, owned) or {}
        time.sleep(0.01)
    proxy.network = Network()
    assert ends == {partition: EndOffsets(last_stable_offset=0, high_watermark=0)}
