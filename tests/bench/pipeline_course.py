"""Run contenders on the embedded Kafka: each is a process that reads one topic and writes verdicts.

The messages are in a topic of four partitions before any contender starts. Each contender is a process of its own
with verdict topics of its own. A read_committed reader checks that each message has exactly one verdict. If all
contenders write the same verdicts, every thousandth document is compared as a whole.

Messages a second are counted by the times at which the broker appended the verdicts (``LogAppendTime``), from the
end of the first tenth to the last verdict: without start-up, joining of the group and first fetch. CPU is user and
system time of the process, divided by the messages. It counts from the readiness to join, or from a worker's first
chunk, until the group has committed everything.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from schemas.verdict import identify
from tests.bench.cpu_time import by_thread, cpu_seconds, threads_of
from tests.bench.side_by_side import say
from worker.commands.broker.embedded import running_broker
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.kafka.topic_reader import open_reader, read_to_end
from worker.kafka.topics import TopicSpec, create_topics
from worker.settings import consumer_config, load_settings, producer_config

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
BROKER = {"log.message.timestamp.type": "LogAppendTime"}
WARM_SHARE = 0.1
SAMPLED_ONE_IN = 1000
LOOK_AGAIN_S = 0.05
FINISH_S_MAX = 300
SILENCE_MS_MAX = 30_000

MakeMessage = Callable[[int, str, int], bytes]
"""Makes the value of a message from its number, its text and the number of its channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A contender.

    Attributes:
        command: Command of its process. For a rival of the worker, the plan is its last argument.
        messages: Number of messages that it gets.
        kind: The kind of the messages, as it was fed.
        settings: The worker's settings except names of topics and ids. None for a rival.
        plan: A rival's plan without names of topics and ids.
    """

    command: Sequence[str]
    messages: int
    kind: str = "chat"
    settings: Mapping[str, str] | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The figures of one run.

    Attributes:
        messages_per_s: Messages a second, from the end of the first tenth to the last message.
        cpu_us: CPU time per message of all threads, in microseconds.
        threads_us: CPU time per message by thread, in microseconds; only for the worker.
        records_per_transaction: Mean number of records in a transaction; only for the worker.
        value_bytes: Mean size of a verdict in bytes.
        versions: Versions of the packages in a rival's environment.
    """

    messages_per_s: float
    cpu_us: float
    threads_us: Mapping[str, float]
    records_per_transaction: float | None
    value_bytes: float
    versions: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Course:
    """The broker, the messages and the figures of all runs.

    Attributes:
        is_compared: Whether all contenders write the same verdicts.
    """

    bootstrap_servers: str
    folder: Path
    is_compared: bool = True
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    _samples: dict[str, Any] = field(default_factory=dict)
    _number: int = 0

    def feed(
        self,
        texts: Sequence[str],
        messages: int,
        kind: str = "chat",
        make: MakeMessage | None = None,
        channels: Iterable[int] | None = None,
    ) -> None:
        """Write a topic of this number of messages, to its partitions in turn.

        Args:
            texts: The texts, which are repeated.
            messages: Number of messages.
            kind: The kind of the messages, for the topic's name.
            make: Makes a message; None: as the contract describes it.
            channels: The channel of each message; None: four channels in turn.
        """
        topic, make = _input(kind, messages), make or message
        self._make([topic])
        producer = Producer({**self._client, "compression.type": "lz4", "linger.ms": 20})
        columns = zip(range(messages), cycle(texts), channels or cycle(range(PARTITIONS)), strict=False)
        for number, text, channel in columns:
            value, partition = make(number, text, channel), number % PARTITIONS
            while True:
                try:
                    producer.produce(topic, value, f"channel-{partition}", partition=partition)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush()

    def run(self, name: str, contender: Contender) -> float:
        """Run the contender once, and return its messages a second."""
        self._number += 1
        prefix = f"run-{self._number}."
        input_topic = _input(contender.kind, contender.messages)
        settings = self._settings(prefix, input_topic)
        self._make([settings[f"WORKER_KAFKA__{kind}_TOPIC"] for kind in ("VERDICT", "ALERT", "DEAD_LETTER")])
        process = self._start(prefix, contender, settings)
        try:
            self._await_commits(process, prefix, input_topic, contender.messages)
            pid = process.pid
            assert pid is not None
            cpu_s, threads_s = cpu_seconds(Path(f"/proc/{pid}/stat")), threads_of(pid)
            if contender.settings is not None:
                process.drain()
        finally:
            process.kill()
        log = process.log.read_text(errors="replace")
        reported = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        appended_ms, value_bytes = self._verdicts(settings["WORKER_KAFKA__VERDICT_TOPIC"], contender.messages)
        run = Run(
            messages_per_s=rate(appended_ms),
            cpu_us=1e6 * (cpu_s - reported[0]["ready_cpu_s"]) / contender.messages,
            threads_us={
                thread: round(1e6 * seconds / contender.messages, 2)
                for thread, seconds in by_thread(pid, threads_s, reported).items()
            },
            records_per_transaction=_records_per_transaction(log),
            value_bytes=value_bytes,
            versions=reported[0].get("versions", {}),
        )
        say(f"  {run.cpu_us:.1f} us of CPU a message {dict(run.threads_us)}")
        self.runs[name].append(run)
        return run.messages_per_s

    @property
    def _client(self) -> dict[str, Any]:
        return {"log_level": 0, "bootstrap.servers": self.bootstrap_servers}

    def _make(self, topics: Sequence[str]) -> None:
        create_topics(self._client, [TopicSpec(name=name, partitions=PARTITIONS) for name in topics])

    def _settings(self, prefix: str, input_topic: str) -> dict[str, str]:
        return {
            "WORKER_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "WORKER_KAFKA__GROUP_ID": f"{prefix}group",
            "WORKER_KAFKA__TRANSACTIONAL_ID": f"{prefix}id",
            "WORKER_KAFKA__INPUT_TOPICS": input_topic,
            "WORKER_KAFKA__VERDICT_TOPIC": f"{prefix}verdicts",
            "WORKER_KAFKA__ALERT_TOPIC": f"{prefix}alerts",
            "WORKER_KAFKA__DEAD_LETTER_TOPIC": f"{prefix}dead-letters",
            "WORKER_LOG__FORMAT": "text",
        }

    def _start(self, prefix: str, contender: Contender, settings: Mapping[str, str]) -> WorkerSubprocess:
        """Start the contender. Rivals configure their clients as the worker's settings do."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
        command = list(contender.command)
        if contender.settings is None:
            kafka = load_settings(settings).settings.kafka
            plan = {
                **contender.plan,
                "input": kafka.input_topics[0],
                "output": kafka.verdict_topic,
                "consumer": consumer_config(kafka),
                "producer": producer_config(kafka),
            }
            command.append(json.dumps(plan))
        else:
            environ |= {**settings, **contender.settings}
        environ["PYTHONPATH"] = str(ROOT)
        return WorkerSubprocess(name=prefix, folder=self.folder / prefix, environ=environ, command=command)

    def _await_commits(self, process: WorkerSubprocess, prefix: str, input_topic: str, messages: int) -> None:
        asks = [TopicPartition(input_topic, number) for number in range(PARTITIONS)]
        deadline = time.monotonic() + FINISH_S_MAX
        with closing(
            Consumer({**self._client, "group.id": f"{prefix}group", "enable.auto.commit": False})
        ) as group:
            while _committed(group, asks) < messages:
                if process.exit_code is not None or time.monotonic() > deadline:
                    raise SystemExit(
                        f"the contender has not committed everything; its log ends:\n{process.log_tail()}"
                    )
                time.sleep(LOOK_AGAIN_S)

    def _verdicts(self, topic: str, messages: int) -> tuple[list[int], float]:
        """Return when each verdict was appended, and the mean size; check that the verdicts are right."""
        appended_ms, sources, size_bytes = [], set(), 0
        with open_reader(self._client, [topic]) as reader:
            for record in read_to_end(reader, SILENCE_MS_MAX):
                value = record.value() or b""
                document = orjson.loads(value)
                sources.add((document["source"]["partition"], document["source"]["offset"]))
                appended_ms.append(record.timestamp()[1])
                size_bytes += len(value)
                if self.is_compared and int(document["message_id"]) % SAMPLED_ONE_IN == 0:
                    self._compare(document)
        assert len(appended_ms) == len(sources) == messages, (len(appended_ms), len(sources), messages)
        return appended_ms, size_bytes / messages

    def _compare(self, document: dict[str, Any]) -> None:
        """Compare verdicts on the same message, except the time of judging and what names the input topic."""
        model, policy = document["model"], document["policy"]
        judge = (model["revision"], model["dtype"], policy["version"])
        source, verdict_id = document.pop("source"), document.pop("verdict_id")
        assert verdict_id == identify("verdict/1", judge=judge, source=source)
        assert len(document.pop("judged_at")) == len("2026-01-31T09:30:00.250Z")
        assert list(document.items()) == list(self._samples.setdefault(document["message_id"], document).items())


def texts_of(log: Path) -> list[str]:
    """Return the texts of the log that are not blank."""
    opened = gzip.open if log.suffix == ".gz" else open
    with opened(log, "rb") as lines:
        return [text for line in lines if (text := orjson.loads(line)["text"]).strip()]


def message(number: int, text: str, channel: int) -> bytes:
    """Return a message as the contract describes it."""
    return orjson.dumps(
        {
            "message_id": str(number),
            "channel_id": f"channel-{channel}",
            "user_id": f"user-{number % 997}",
            "text": text,
            "sent_at": "2026-01-31T09:30:00.250Z",
        }
    )


def rate(appended_ms: Sequence[int]) -> float:
    """Return messages a second after the first tenth."""
    ordered = sorted(appended_ms)
    began_ms = ordered[int(WARM_SHARE * len(ordered))]
    after = sum(1 for at_ms in ordered if at_ms > began_ms)
    return after * 1000 / max(1, ordered[-1] - began_ms)


@contextmanager
def course_on_broker() -> Iterator[Course]:
    """Start the embedded Kafka for all runs."""
    with (
        running_broker(extra_properties=BROKER, progress=say) as broker,
        tempfile.TemporaryDirectory(prefix="moderation-bench-") as folder,
    ):
        yield Course(bootstrap_servers=broker.bootstrap_servers, folder=Path(folder))


def log_options(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Return a parser of the options of a benchmark that feeds a log of chat to workers on a broker."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="the model's tokenizer.json")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def _records_per_transaction(log: str) -> float | None:
    """Read it from the worker's last log line: ``drained: N messages in M transactions, ...``."""
    words = log.rpartition("drained: ")[2].split()
    return int(words[0]) / int(words[3]) if words[1:3] == ["messages", "in"] else None


def _committed(group: Consumer, asks: list[TopicPartition]) -> int:
    """Return the committed messages of all partitions; 0 while the group has no coordinator yet."""
    try:
        return sum(max(0, at.offset) for at in group.committed(asks, timeout=10))
    except KafkaException:
        return 0


def _input(kind: str, messages: int) -> str:
    return f"{kind}.{messages}"
