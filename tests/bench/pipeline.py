"""The pipeline without the model, by hand: ``python -m tests.bench.pipeline LOG --tokenizer tokenizer.json``.

What is compared is everything around the model: a null model answers each text at once, with the same scores. LOG
has a JSON object with ``text`` a line, and may be gzipped; it is read again from its beginning until there are
enough messages. They lie in a topic of four partitions of the embedded Kafka before anybody starts. The contenders:

- ``bare``: the bare client in two threads, with no more exactly-once than begin, produce, offsets, commit
- ``ours``: the worker, its verdict cache off (a text that comes twice in a chunk is tokenised once all the same)
- ``ours with cache``: the worker as it comes; it gets LOG only once, for a second pass would be all known
- ``quix``: Quix Streams, exactly once, with two commit intervals; only if ``--quix`` names a Python that has it
- ``per message``: flush and synchronous commit after each message; it gets few, being slow

Each is a process of its own with verdict topics of its own, and all write the same verdicts, which is checked: as
many as messages, each message once, by a read_committed reader; and of every thousandth the whole document.

Messages a second: by the times at which the broker appended the verdicts (``LogAppendTime``), from the end of the
first tenth to the last: no start-up, no joining of the group, no first fetch. CPU: what the kernel counts for the
process, user and system, from when it is ready to join until its group has committed everything, by messages.
"""

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from schemas.verdict import identify
from tests.bench.pipeline_ours import IDENTITY
from tests.bench.side_by_side import draw, medians, ratios, say, write
from worker.commands.broker.embedded import running_broker
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.kafka.reading import open_reader, read_to_end
from worker.kafka.topics import TopicSpec, create_topics
from worker.moderation.policy import Policy
from worker.settings import consumer_config, load_settings, producer_config

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
BROKER = {"log.message.timestamp.type": "LogAppendTime"}
WARM_SHARE = 0.1
SAMPLED_ONE_IN = 1000
LOOK_AGAIN_S = 0.05
FINISH_S_MAX = 300
SILENCE_MS_MAX = 30_000
MODEL = {
    "name": IDENTITY.name,
    "revision": IDENTITY.revision,
    "commit": IDENTITY.commit,
    "dtype": IDENTITY.dtype,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Who runs.

    Attributes:
        command: Of its process; a rival's plan is put behind it.
        messages: How many it gets.
        settings: The worker's, beside those that name things; None: a rival.
        plan: A rival's, likewise.
    """

    command: Sequence[str]
    messages: int
    settings: Mapping[str, str] | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of it once.

    Attributes:
        messages_per_s: From the first tenth to the last message.
        cpu_us: A message, of all threads.
        threads_us: The worker's: a message, by thread.
        records_per_transaction: The worker's, on average.
        value_bytes: A verdict, on average.
        versions: Of the packages in another environment than ours.
    """

    messages_per_s: float
    cpu_us: float
    threads_us: Mapping[str, float]
    records_per_transaction: float | None
    value_bytes: float
    versions: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Course:
    """The broker, what was fed, and what came of it."""

    bootstrap_servers: str
    folder: Path
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    _samples: dict[str, Any] = field(default_factory=dict)
    _number: int = 0

    def feed(self, texts: Sequence[str], messages: int) -> None:
        """A topic of so many messages, their partitions in turn."""
        topic = _input(messages)
        self._make([topic])
        producer = Producer({**self._client, "compression.type": "lz4", "linger.ms": 20})
        for number, text in enumerate(islice(cycle(texts), messages)):
            value, partition = message(number, text), number % PARTITIONS
            while True:
                try:
                    producer.produce(topic, value, f"channel-{partition}", partition=partition)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush()

    def run(self, name: str, contender: Contender) -> float:
        """Lets it run once, and gives its messages a second."""
        self._number += 1
        prefix = f"run-{self._number}."
        settings = self._settings(prefix, contender.messages)
        self._make([settings[f"WORKER_KAFKA__{kind}_TOPIC"] for kind in ("VERDICT", "ALERT", "DEAD_LETTER")])
        process = self._start(prefix, contender, settings)
        try:
            self._await_commits(process, prefix, contender.messages)
            pid = process.pid
            assert pid is not None
            cpu_s, threads_s = cpu_seconds(Path(f"/proc/{pid}/stat")), _threads(pid)
            if contender.settings is not None:
                process.drain()
        finally:
            process.kill()
        log = process.log.read_text(errors="replace")
        told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        appended_ms, value_bytes = self._verdicts(settings["WORKER_KAFKA__VERDICT_TOPIC"], contender.messages)
        run = Run(
            messages_per_s=rate(appended_ms),
            cpu_us=1e6 * (cpu_s - told[0]["ready_cpu_s"]) / contender.messages,
            threads_us={
                thread: round(1e6 * seconds / contender.messages, 2)
                for thread, seconds in by_thread(pid, threads_s, told).items()
            },
            records_per_transaction=_records_per_transaction(log),
            value_bytes=value_bytes,
            versions=told[0].get("versions", {}),
        )
        say(f"  {run.cpu_us:.1f} us of CPU a message {dict(run.threads_us)}")
        self.runs[name].append(run)
        return run.messages_per_s

    @property
    def _client(self) -> dict[str, Any]:
        return {"log_level": 0, "bootstrap.servers": self.bootstrap_servers}

    def _make(self, topics: Sequence[str]) -> None:
        create_topics(self._client, [TopicSpec(name=name, partitions=PARTITIONS) for name in topics])

    def _settings(self, prefix: str, messages: int) -> dict[str, str]:
        return {
            "WORKER_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "WORKER_KAFKA__GROUP_ID": f"{prefix}group",
            "WORKER_KAFKA__TRANSACTIONAL_ID": f"{prefix}id",
            "WORKER_KAFKA__INPUT_TOPICS": _input(messages),
            "WORKER_KAFKA__VERDICT_TOPIC": f"{prefix}verdicts",
            "WORKER_KAFKA__ALERT_TOPIC": f"{prefix}alerts",
            "WORKER_KAFKA__DEAD_LETTER_TOPIC": f"{prefix}dead-letters",
            "WORKER_LOG__FORMAT": "text",
        }

    def _start(self, prefix: str, contender: Contender, settings: Mapping[str, str]) -> WorkerSubprocess:
        """Rivals use the clients as the worker's settings configure them."""
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

    def _await_commits(self, process: WorkerSubprocess, prefix: str, messages: int) -> None:
        asks = [TopicPartition(_input(messages), number) for number in range(PARTITIONS)]
        deadline = time.monotonic() + FINISH_S_MAX
        with closing(
            Consumer({**self._client, "group.id": f"{prefix}group", "enable.auto.commit": False})
        ) as group:
            while _committed(group, asks) < messages:
                if process.exit_code is not None or time.monotonic() > deadline:
                    raise SystemExit(f"it has not committed everything:\n{process.log_tail()}")
                time.sleep(LOOK_AGAIN_S)

    def _verdicts(self, topic: str, messages: int) -> tuple[list[int], float]:
        """When each was appended, and their mean size; only if they are what everyone's are."""
        appended_ms, sources, size_bytes = [], set(), 0
        with open_reader(self._client, [topic]) as reader:
            for record in read_to_end(reader, SILENCE_MS_MAX):
                value = record.value() or b""
                document = orjson.loads(value)
                sources.add((document["source"]["partition"], document["source"]["offset"]))
                appended_ms.append(record.timestamp()[1])
                size_bytes += len(value)
                if int(document["message_id"]) % SAMPLED_ONE_IN == 0:
                    self._compare(document)
        assert len(appended_ms) == len(sources) == messages, (len(appended_ms), len(sources), messages)
        return appended_ms, size_bytes / messages

    def _compare(self, document: dict[str, Any]) -> None:
        """The same for the same message, but for the time of judging and what names the input topic."""
        model, policy = document["model"], document["policy"]
        judge = (model["revision"], model["dtype"], policy["version"])
        source, verdict_id = document.pop("source"), document.pop("verdict_id")
        assert verdict_id == identify("verdict/1", judge=judge, source=source)
        assert len(document.pop("judged_at")) == len("2026-01-31T09:30:00.250Z")
        assert list(document.items()) == list(self._samples.setdefault(document["message_id"], document).items())


def texts_of(log: Path) -> list[str]:
    """Those of its lines that are not blank."""
    opened = gzip.open if log.suffix == ".gz" else open
    with opened(log, "rb") as lines:
        return [text for line in lines if (text := orjson.loads(line)["text"]).strip()]


def message(number: int, text: str) -> bytes:
    """As the contract wants it."""
    return orjson.dumps(
        {
            "message_id": str(number),
            "channel_id": f"channel-{number % PARTITIONS}",
            "user_id": f"user-{number % 997}",
            "text": text,
            "sent_at": "2026-01-31T09:30:00.250Z",
        }
    )


def rate(appended_ms: Sequence[int]) -> float:
    """Messages a second once it is under way."""
    ordered = sorted(appended_ms)
    began_ms = ordered[int(WARM_SHARE * len(ordered))]
    after = sum(1 for at_ms in ordered if at_ms > began_ms)
    return after * 1000 / max(1, ordered[-1] - began_ms)


def cpu_seconds(stat: Path) -> float:
    """User and system, of a process or of a thread; in hundredths, as Linux tells it."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _threads(pid: int) -> dict[int, tuple[str, float]]:
    """Each thread's name and CPU seconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): ((task / "comm").read_text(), cpu_seconds(task / "stat")) for task in tasks}


def by_thread(
    pid: int, threads: Mapping[int, tuple[str, float]], told: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The worker's CPU seconds by what was done; nothing for a rival.

    What may hold the interpreter's lock is the owner, the device and the preparer without the tokenizer, which lets
    go of it; the owner also lets go of it inside librdkafka's calls, so that this is an upper bound.
    """
    last = told[-1]
    if "preparer" not in last:
        return {}
    ours = {pid: "owner", last["preparer"]: "preparer", last["device"]: "device"}
    found: dict[str, float] = defaultdict(float)
    for thread, (name, seconds) in threads.items():
        other = "librdkafka" if name.startswith("rdk:") else "tokenizer"
        found[ours.get(thread, other)] += seconds
    found["owner"] -= told[0]["ready_owner_cpu_s"]
    found["preparer"] -= last["tokenising_ns"] / 1e9
    found["tokenizer"] += last["tokenising_ns"] / 1e9
    found["may hold the GIL"] = found["owner"] + found["preparer"] + found["device"]
    return dict(found)


def _records_per_transaction(log: str) -> float | None:
    """By the worker's last words: ``drained: N messages in M transactions, ...``."""
    words = log.rpartition("drained: ")[2].split()
    return int(words[0]) / int(words[3]) if words[1:3] == ["messages", "in"] else None


def _committed(group: Consumer, asks: list[TopicPartition]) -> int:
    """Messages of all partitions; 0 also while the group has no coordinator yet."""
    try:
        return sum(max(0, at.offset) for at in group.committed(asks, timeout=10))
    except KafkaException:
        return 0


def _input(messages: int) -> str:
    return f"chat.{messages}"


def contenders(options: argparse.Namespace, texts: Sequence[str]) -> dict[str, Contender]:
    """Who runs, by name."""
    tokenizer = str(options.tokenizer.absolute())
    rival = (sys.executable, "-m", "tests.bench.pipeline_rivals")
    ours = (sys.executable, "-m", "tests.bench.pipeline_ours", tokenizer)
    plan = {
        "tokenizer": tokenizer,
        "model": MODEL,
        "policy": orjson.loads(orjson.dumps(Policy.of().document, option=orjson.OPT_SERIALIZE_NUMPY)),
        "transaction_records": options.transaction_records,
    }
    everything, once = options.messages, min(options.messages, len(texts))
    cache_off = {"WORKER_CACHE__BYTES_MAX": "0"}
    found = {
        "bare": Contender(command=[*rival, "bare"], messages=everything, plan=plan),
        "ours": Contender(command=ours, messages=everything, settings=cache_off),
        "ours with cache": Contender(command=ours, messages=once, settings={}),
    }
    if options.quix is not None:
        theirs = (str(options.quix.absolute()), "-m", "tests.bench.pipeline_rivals", "quix")
        for seconds in (0.1, 1):
            found[f"quix, commit every {seconds} s"] = Contender(
                command=theirs, messages=everything, plan={**plan, "commit_interval_s": seconds}
            )
    few = min(options.per_message, everything)
    found["per message"] = Contender(command=[*rival, "per message"], messages=few, plan=plan)
    return found


def report(course: Course, rates: Mapping[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """What is written."""
    of_bare = ratios(rates, to="bare")
    quix = [name for name in rates if name.startswith("quix")]

    def middle(name: str, figure: Callable[[Run], float]) -> float:
        return round(statistics.median(figure(run) for run in course.runs[name]), 2)

    def row(name: str) -> dict[str, Any]:
        first = course.runs[name][0]
        transaction = first.records_per_transaction
        return {
            "messages_per_s": round(rates[name]),
            "of_bare": of_bare[name],
            "cpu_us_a_message": middle(name, lambda run: run.cpu_us),
            "verdict_bytes": round(first.value_bytes),
            "each_round": [round(run.messages_per_s) for run in course.runs[name]],
        } | (
            {
                "records_per_transaction": round(transaction),
                "cpu_us_a_message_by_thread": {
                    thread: middle(name, lambda run, thread=thread: run.threads_us[thread])  # type: ignore[misc]
                    for thread in first.threads_us
                },
            }
            if transaction is not None
            else {"versions": first.versions}
        )

    best = max((rates[name] for name in quix), default=None)
    return {
        "log": options.log.name,
        "messages": options.messages,
        "rounds": options.rounds,
        "bare_records_per_transaction_max": options.transaction_records,
        "ours_of_bare": of_bare["ours"],
        "ours_of_quix": "left out: no --quix" if best is None else round(rates["ours"] / best, 3),
        "contenders": {name: row(name) for name in rates},
    }


@contextmanager
def course_on_broker() -> Iterator[Course]:
    """On the embedded Kafka."""
    with (
        running_broker(extra_properties=BROKER, progress=say) as broker,
        tempfile.TemporaryDirectory(prefix="moderation-bench-") as folder,
    ):
        yield Course(bootstrap_servers=broker.bootstrap_servers, folder=Path(folder))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True, help="the model's tokenizer.json")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transaction-records", type=int, default=4_000, help="of the bare client, at most")
    parser.add_argument("--per-message", type=int, default=4_000, help="messages of the slow contender")
    parser.add_argument("--quix", type=Path, help="a Python that has quixstreams 3.28, orjson and tokenizers")
    options = parser.parse_args()
    texts = texts_of(options.log)
    with course_on_broker() as course:
        entered = contenders(options, texts)
        for messages in {contender.messages for contender in entered.values()}:
            course.feed(texts, messages)
        rates = medians(
            {name: partial(course.run, name, contender) for name, contender in entered.items()},
            rounds=options.rounds,
        )
        write("pipeline", report(course, rates, options))
    draw(
        "bench-pipeline",
        f"Without the model: messages a second, {options.log.name}, one Kafka on the same machine",
        {"consume, decode, tokenise, write, commit": rates},
        unit="/s",
    )


if __name__ == "__main__":
    main()
