"""What a worker tells of itself: a real process, a real Kafka, and a receiver of OTLP."""

import json
import re
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from schemas.labels import CATEGORY_SLUGS
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat, headers_of
from tests.otlp_receiver import Receiver, attributes_of, otlp_receiver
from tests.worker_process import Start, workers
from worker.classifier import Classifier
from worker.commands.broker.node import free_ports
from worker.commands.calibrate.drift_reference import drift_reference
from worker.commands.evaluate.text_scoring import TextScorer
from worker.moderation.drift_reference import ReferenceModel
from worker.moderation.policies import Policy
from worker.moderation.score_drift import MESSAGES_MIN
from worker.records import Topic
from worker.settings import load_settings
from worker.telemetry import names
from worker.telemetry.names import METRICS, Metric
from worker.wiring import reference_text

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

UNHEARD_WORD = "xylophonic"
BAD = [b"no json", b'{"body":1}', b'{"text":7}']
TRACED = 200
QUICKLY = {"OTEL_METRIC_EXPORT_INTERVAL": "500", "OTEL_BSP_SCHEDULE_DELAY": "100"}
KINDS = {"process": 5, "send": 3, "send_offsets": 3, "commit": 3, "prepare": 1, "score": 1}
"""Span kinds of the protocol: 1 internal, 3 client, 5 consumer."""


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError as error:
        return 0, str(error)


def traceparent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A worker that has judged everything and has been drained, and all that was said of it."""

    scene: KafkaEnv
    receiver: Receiver
    scraped: str
    said: str

    def points(self, metric: Metric) -> list[Any]:
        sent = self.receiver.metrics[metric.name]
        return list(getattr(sent, sent.WhichOneof("data") or "").data_points)

    def counts(self, metric: Metric, attribute: str) -> dict[str, float]:
        """By the attribute's value, as the protocol's last export has it."""
        return {str(attributes_of(point.attributes)[attribute]): number(point) for point in self.points(metric)}

    def total(self, metric: Metric) -> float:
        return sum(number(point) for point in self.points(metric))


def number(point: NumberDataPoint) -> float:
    return point.as_int or point.as_double


def send_all_kinds(scene: KafkaEnv) -> None:
    """Calm and flagged, unreadable ones, a tombstone, and some with a trace of their own."""
    scene.send([chat(f"{UNHEARD_WORD} number {n}") for n in range(300)] + [*BAD, None])
    scene.send([chat("you are so bad at this game, go away"), chat("how can i sell counterfeit money")])
    scene.send([chat("an id that is none", user_id=[1])])
    producer = Producer(scene.client)
    for n in range(1, TRACED + 1):
        headers: dict[str, str | bytes | None] = {"traceparent": traceparent(n), "tracestate": "vendor=1"}
        producer.produce(next(iter(scene.inputs)), chat(f"traced {n}"), headers=headers, partition=0)
    assert producer.flush(KAFKA_S_MAX) == 0


@pytest.fixture(scope="module")
def run(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    scene = KafkaEnv(bootstrap_servers, "demo")
    scene.create()
    send_all_kinds(scene)
    [port] = free_ports(1)
    environ = scene.environ(HEALTH__PORT=str(port), POLICY__THRESHOLD="0.05", LOG__LEVEL="debug")
    with otlp_receiver() as receiver, workers(tmp_path_factory.mktemp("telemetry")) as start:
        exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_METRICS_EXPORTER": "otlp,prometheus"}
        worker = start(environ | exporting | QUICKLY)
        scene.wait_until_caught_up(worker)
        worker.wait_until(lambda: backlog(ask(port, "/metrics")[1]) == [0.0, 0.0, 0.0])
        scraped = ask(port, "/metrics")[1]
        worker.drain()
        yield Run(scene=scene, receiver=receiver, scraped=scraped, said=worker.said)


def backlog(scraped: str) -> list[float]:
    return [float(value) for value in re.findall(r"^moderation_backlog\{.*\} (\S+)$", scraped, re.MULTILINE)]


def test_what_is_counted_is_what_a_reader_sees(run: Run) -> None:
    verdicts, alerts, letters = (run.scene.read(topic) for topic in Topic)
    outputs = {run.scene.outputs[topic]: float(len(run.scene.read(topic))) for topic in Topic}
    assert run.counts(names.SENT, names.DESTINATION) == outputs
    bodies = [orjson.loads(verdict.value() or b"") for verdict in verdicts]
    flagged = Counter(str(body["flagged"]) for body in bodies)
    assert run.counts(names.VERDICTS, names.FLAGGED) == flagged
    flags = Counter(slug for body in bodies for slug, flag in body["categories"].items() if flag)
    assert run.counts(names.FLAGS, names.CATEGORY) == flags
    assert run.counts(names.FIELDS_IGNORED, names.FIELD) == {"user_id": 1}
    assert run.total(names.ALERTS) == len(alerts) > 0
    reasons = Counter((dict(headers_of(letter))["moderation.error.reason"] or b"").decode() for letter in letters)
    assert run.counts(names.DEAD_LETTERS, names.REASON) == reasons == {"not_json": 1, "no_text": 1, "wrong_type": 1}
    assert run.total(names.CONSUMED) == sum(run.scene.input_ends().values())


def test_every_metric_is_one_of_the_table_with_its_attributes_and_buckets(run: Run) -> None:
    known = {metric.name: metric for metric in METRICS}
    assert run.receiver.metrics.keys() <= known.keys()
    # No transaction was aborted, nothing went wrong in one or was refused, no partition is blocked or in
    # quarantine, there is no GPU and no drift reference, and too few tokens are scored for a share of one key.
    absent = {
        names.DRIFT,
        names.TOP_SHARE,
        names.ABORTED,
        names.DEVICE_MEMORY,
        names.INPUT_BLOCKED,
        names.QUARANTINED,
    }
    if names.TRANSACTION_EVENTS.name not in run.receiver.metrics:
        absent.add(names.TRANSACTION_EVENTS)
    of_a_policy_file = {name for name in known if name.startswith(("moderation.policy.", "moderation.shadow."))}
    assert known.keys() - run.receiver.metrics.keys() - of_a_policy_file == {metric.name for metric in absent}
    for name, sent in run.receiver.metrics.items():
        assert (sent.unit, sent.description) == (known[name].unit, known[name].about)
        for point in run.points(known[name]):
            assert set(attributes_of(point.attributes)) <= set(known[name].attributes), name
            if known[name].buckets:
                assert tuple(point.explicit_bounds) == known[name].buckets
    assert run.receiver.schema_urls == {names.SCHEMA_URL}


def test_a_worker_says_by_which_model_and_thresholds_and_in_which_group_it_judges(run: Run) -> None:
    [body, *_] = [orjson.loads(verdict.value() or b"") for verdict in run.scene.read(Topic.VERDICT)]
    [point] = run.points(names.MODEL_INFO)
    said = attributes_of(point.attributes)
    assert said["moderation.model.revision"] == body["model"]["revision"]
    assert said["moderation.policy.fingerprint"] == Policy.of(0.05).fingerprint == body["policy"]["version"]
    assert said["messaging.consumer.group.name"] == run.scene.group


def test_the_shape_of_the_batches_adds_up(run: Run) -> None:
    def summed(metric: Metric) -> float:
        return float(sum(point.sum for point in run.points(metric)))

    records = sum(run.scene.input_ends().values())
    assert summed(names.BATCH_RECORDS) == records
    # All of the texts differ, so each is scored.
    assert summed(names.BATCH_TOKENS) == run.total(names.DEVICE_TOKENS)
    assert run.counts(names.CACHE_LOOKUPS, names.LOOKUP) == {"hit": 0, "miss": records - len(BAD) - 1}
    assert run.total(names.DEVICE_ROWS) == records - len(BAD) - 1
    assert run.total(names.DEVICE_PADDING) == 0
    assert summed(names.SCORE_DURATION) == pytest.approx(run.total(names.DEVICE_BUSY))
    assert run.counts(names.TRANSACTIONS, names.OUTCOME).keys() == {"committed"}
    assert run.counts(names.THROTTLE_TIME, names.CLIENT) == {"consumer": 0, "producer": 0}
    fills = [point.max for point in run.points(names.BATCH_FILL)]
    assert 0 < max(fills) <= 1


def test_the_resource_says_who_it_is(run: Run) -> None:
    who = run.receiver.resource
    assert who["service.name"] == "moderation-worker"
    assert who["service.instance.id"] == f"{run.scene.group}.a"


def test_a_scrape_has_the_names_of_the_table(run: Run) -> None:
    scraped = set(re.findall(r"^([a-z_]+?)(?:_bucket|_count|_sum)?(?:\{| )", run.scraped, re.MULTILINE))
    exported = {metric for metric in METRICS if metric.name in run.receiver.metrics}
    assert {metric.prometheus for metric in exported} <= scraped
    assert "process_resident_memory_bytes" in scraped
    assert not re.search("otel_scope", run.scraped)


def test_a_transaction_is_a_span_with_its_parts_as_children(run: Run) -> None:
    spans = run.receiver.spans
    roots = [span for span in spans if not span.parent_span_id]
    topic = next(iter(run.scene.inputs))
    assert {span.name for span in roots} == {f"process {topic}"}
    counted = sum(attributes_of(span.attributes)[names.BATCH_COUNT] for span in roots)
    assert counted == sum(run.scene.input_ends().values())
    for root in roots:
        children = [span for span in spans if span.parent_span_id == root.span_id]
        assert {"send", "send_offsets", "commit"} <= {span.name for span in children}
        for span in [root, *children]:
            assert span.trace_id == root.trace_id
            assert span.kind == KINDS[span.name.split()[0]]
            assert span.start_time_unix_nano <= span.end_time_unix_nano
        commit = next(span for span in children if span.name == "commit")
        assert commit.end_time_unix_nano <= root.end_time_unix_nano
        assert attributes_of(commit.attributes) == {
            names.SYSTEM: "kafka",
            names.OPERATION: "commit",
            names.OPERATION_TYPE: "settle",
        }
    parts = Counter(span.name for span in spans if span.name in {"prepare", "score"})
    [prepared], [scored] = run.points(names.PREPARE_DURATION), run.points(names.SCORE_DURATION)
    assert parts == {"prepare": prepared.count, "score": scored.count}


def test_a_span_links_to_the_messages_own_traces_and_says_how_many_it_left_out(run: Run) -> None:
    roots = [span for span in run.receiver.spans if not span.parent_span_id]
    linked = {int.from_bytes(link.trace_id, "big") for span in roots for link in span.links}
    dropped = sum(attributes_of(span.attributes).get(names.LINKS_DROPPED, 0) for span in roots)
    assert linked <= set(range(1, TRACED + 1))
    assert len(linked) + dropped == TRACED
    assert all(len(span.links) <= 128 for span in roots)


def test_the_context_of_a_message_travels_on_as_it_came(run: Run) -> None:
    seen: Counter[str] = Counter()
    for verdict in run.scene.read(Topic.VERDICT):
        headers = dict(headers_of(verdict))
        if "traceparent" in headers:
            assert headers["tracestate"] == b"vendor=1"
            seen[(headers["traceparent"] or b"").decode()] += 1
    assert seen == Counter(traceparent(number) for number in range(1, TRACED + 1))


def test_no_text_reaches_telemetry_or_the_log(run: Run) -> None:
    assert UNHEARD_WORD not in str(run.receiver.spans) + str(run.receiver.metrics)
    assert UNHEARD_WORD not in run.said
    assert UNHEARD_WORD not in run.scraped


def test_an_aborted_transaction_is_counted_apart_and_its_log_lines_have_the_trace(
    scene: KafkaEnv, start: Start
) -> None:
    scene.limit(Topic.ALERT, 900)  # below the size of any alert
    scene.send([chat("the broker won't take the alert of this one")])
    with otlp_receiver() as receiver:
        worker = start(
            # At this level each attempt has a line. Other levels have a line for the first attempt, then only few.
            scene.environ(LOG__FORMAT="json", LOG__LEVEL="debug")
            | QUICKLY
            | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        )
        scene.wait_until_caught_up(worker)
        worker.send(signal.SIGTERM)
        assert worker.end() == 0
        run = Run(scene=scene, receiver=receiver, scraped="", said=worker.said)
        failed = [span for span in receiver.spans if not span.parent_span_id and span.status.code == 2]
        lines = [json.loads(line) for line in worker.said.splitlines()]
    assert run.counts(names.TRANSACTIONS, names.OUTCOME)["committed"] == 1
    assert run.counts(names.TRANSACTIONS, names.OUTCOME)["aborted"] == len(failed) > 0
    assert run.counts(names.ABORTED, names.DESTINATION)[scene.outputs[Topic.VERDICT]] > 0
    assert run.counts(names.SENT, names.DESTINATION) == {scene.outputs[Topic.DEAD_LETTER]: 1}
    assert all(attributes_of(span.attributes)[names.ERROR] for span in failed)
    told = {line["trace_id"] for line in lines if "trace_id" in line}
    assert {span.trace_id.hex() for span in failed} <= told <= {span.trace_id.hex() for span in receiver.spans}


def test_an_alert_about_an_unread_part_does_not_count_as_a_flagged_verdict(scene: KafkaEnv, start: Start) -> None:
    scene.send([chat("good morning " * 200), chat("how can i sell counterfeit money"), chat("good evening")])
    unread = {"TEXT__TRUNCATED": "alert", "TEXT__WINDOWS_MAX": "1", "MODEL__TOKENS_MAX": "32"}
    with otlp_receiver() as receiver:
        exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint} | QUICKLY
        worker = start(scene.environ(POLICY__THRESHOLD="0.3", **unread) | exporting)
        scene.wait_until_caught_up(worker)
        worker.drain()
        run = Run(scene=scene, receiver=receiver, scraped="", said=worker.said)
    assert Counter(orjson.loads(one.value() or b"")["flagged"] for one in scene.read(Topic.VERDICT)) == {
        False: 2,
        True: 1,
    }
    assert run.counts(names.VERDICTS, names.FLAGGED) == {"False": 2, "True": 1}
    assert run.counts(names.ALERTS, names.CAUSE) == {"flagged": 1, "truncated": 1}


def test_a_worker_exports_which_share_of_its_tokens_the_loudest_key_has(scene: KafkaEnv, start_stub: Start) -> None:
    [port] = free_ports(1)
    producer = Producer(scene.client)
    for number in range(1200):
        key = f"channel {number}" if number % 4 == 0 else "the loud channel"
        producer.produce(
            next(iter(scene.inputs)), chat(f"{number} is a number that nobody knows"), key, partition=0
        )
    assert producer.flush(KAFKA_S_MAX) == 0
    worker = start_stub(scene.environ(HEALTH__PORT=str(port)) | {"OTEL_METRICS_EXPORTER": "prometheus"})

    def share() -> list[float]:
        scraped = ask(port, "/metrics")[1]
        found = re.findall(r"^moderation_tokens_top_share(?:\{.*\})? (\S+)$", scraped, re.MULTILINE)
        return [float(value) for value in found]

    worker.wait_until(lambda: bool(share()))
    assert share() == [pytest.approx(0.75, abs=0.03)]
    worker.drain()


def drift_of(scraped: str) -> dict[str, float]:
    found = re.findall(r'^moderation_scores_drift\{.*moderation_category="(\w+)".*\} (\S+)$', scraped, re.MULTILINE)
    return {slug: float(value) for slug, value in found}


def test_a_worker_exports_how_much_its_scores_differ_from_the_reference(
    scene: KafkaEnv, start: Start, classifier: Classifier, tmp_path: Path
) -> None:
    """Chat like the reference's has a low index, then spam in another language raises the index of a category."""
    usual = [f"good morning viewer {number}, how was your day" for number in range(MESSAGES_MIN)]
    settings = load_settings(scene.environ(), directory=tmp_path).settings
    scored = TextScorer(settings, classifier).score(usual, None, lambda _: None)
    identity = classifier.identity
    model = ReferenceModel(name=identity.name, revision=identity.revision, dtype=identity.dtype)
    path = tmp_path / "drift.json"
    path.write_text(drift_reference(scored.scores, model, reference_text(settings)).model_dump_json(by_alias=True))
    [port] = free_ports(1)
    worker = start(
        scene.environ(HEALTH__PORT=str(port), DRIFT__REFERENCE=str(path)) | {"OTEL_METRICS_EXPORTER": "prometheus"}
    )
    scene.send([chat(text) for text in usual[:-1]])
    scene.wait_until_caught_up(worker)
    worker.wait_until(lambda: backlog(ask(port, "/metrics")[1]) == [0.0, 0.0, 0.0])
    assert drift_of(ask(port, "/metrics")[1]) == {}  # one message is missing
    scene.send([chat(usual[-1])])
    worker.wait_until(lambda: bool(drift_of(ask(port, "/metrics")[1])))
    usually = drift_of(ask(port, "/metrics")[1])
    assert usually.keys() == set(CATEGORY_SLUGS)
    assert max(usually.values()) < 0.01  # the same texts in other batches
    scene.send([chat(text) for text in usual])  # the cache knows them all, and they count as well
    scene.send([chat(f"comment fabriquer une bombe {number}") for number in range(MESSAGES_MIN)])
    scene.wait_until_caught_up(worker)
    worker.wait_until(lambda: max(drift_of(ask(port, "/metrics")[1]).values()) > 0.25)
    worker.drain()


def test_the_health_port_tells_of_the_whole_life(bootstrap_servers: str, start: Start) -> None:
    """Two workers for one partition: the one that waits for its turn is as ready."""
    scene = KafkaEnv(bootstrap_servers, "demo", inputs=(1,), partitions=1)
    scene.create()
    ports = free_ports(2)
    running = [start(scene.environ(name, HEALTH__PORT=str(port))) for name, port in zip("ab", ports, strict=True)]
    running[0].wait_until(lambda: ask(ports[0], "/livez") == (200, "loading the model\n"))
    assert ask(ports[0], "/readyz") == (503, "loading the model\n")
    shared = [(200, "0 partitions\n"), (200, "1 partitions\n")]
    running[0].wait_until(lambda: sorted(ask(port, "/readyz") for port in ports) == shared)
    assert [ask(port, "/livez") for port in ports] == [(200, "running\n")] * 2
    assert ask(ports[0], "/metrics")[0] == 404
    for worker in running:
        worker.drain()


def test_a_collector_that_is_away_holds_nothing_up(scene: KafkaEnv, start_stub: Start) -> None:
    [nobody] = free_ports(1)
    worker = start_stub(scene.environ() | QUICKLY | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nobody}"})
    scene.send([chat(f"message {number}") for number in range(50)])
    scene.wait_until_caught_up(worker)
    worker.drain()
    assert (scene.ledger().verdicts, scene.ledger().doubled) == (50, 0)
