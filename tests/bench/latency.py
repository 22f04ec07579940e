"""Measure the time from the sending of a message to its visible verdict: ``python -m tests.bench.latency``.

A worker with a stub model that behaves like a device (``device_bound``) runs on the embedded Kafka. First, a
saturated run measures how many messages a second the worker judges. Then it gets shares of this rate, and bursts.
The sending is open-loop: the time of each message is planned before, whether or not the worker keeps up. The
latency counts from this time until a read_committed reader has the verdict. For comparison the report has twice the
time of one batch on the device and one transaction in the same seconds: no design without partial batches avoids
this delay. It also has the p99 of a worker without overhead, which is calculated for the same messages: what the
real worker takes more is for polling, preparing and reading. At the end every message is accounted for.
"""

import argparse
import statistics
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import orjson
from confluent_kafka import Consumer, Producer

from tests.bench import side_by_side
from tests.bench.device_bound import BATCH, COMMIT, Device, Took, read_log, start
from tests.bench.pictures import draw
from worker.commands.broker.embedded import running_broker
from worker.commands.ledger import audit
from worker.commands.ledger_reader import read_topics
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.kafka.topic_reader import open_reader
from worker.kafka.topics import PARTITIONS, create_topics
from worker.records import Topic

Segment = tuple[float, float]
"""A duration in seconds, and a rate in messages a second."""

DEVICE = Device(launch_ms=20, tokens_per_second=35_000, batch_tokens_max=16_384)
WORDS_MEAN = 10
SHARES = (0.1, 0.5, 0.9)
BURST_EVERY_S = 10
BURST_TIMES = 15
WARM_UP: Segment = (10, 1000)
"""During this time the broker's JVM still compiles its code."""
RECORDS_MAX = 1024
"""``WORKER_BATCH__RECORDS_MAX``, as it is by default."""
SATURATED_MESSAGES = 25_000
SILENCE_S_MAX = 30
LOOK_S = 0.001
READ_RECORDS = 1000
SEED = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The figures of one load in one round. Latencies and durations are in milliseconds.

    Attributes:
        load: Name of the load.
        messages: Number of messages that were sent.
        per_second: Messages sent in a second, on average.
        p50: Median latency.
        p90: 90th percentile of the latency.
        p99: 99th percentile of the latency.
        longest: Greatest latency.
        batch: Mean time of a batch on the device.
        batch_records: Mean number of records in a batch.
        commit: Mean time of a transaction, from its begin to its commit.
        commit_p99: 99th percentile of the time of a transaction.
        commits_per_second: Transactions in a second.
        bound: Twice the sum of ``batch`` and ``commit``.
        p99_without_overhead: 99th percentile of the latency of ``without_overhead``.
    """

    load: str
    messages: int
    per_second: float
    p50: float
    p90: float
    p99: float
    longest: float
    batch: float
    batch_records: float
    commit: float
    commit_p99: float
    commits_per_second: float
    bound: float
    p99_without_overhead: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What was sent and what came back.

    Attributes:
        due_s: When each message was due, in seconds, in ascending order.
        tokens: Number of tokens of each message.
        latencies_s: Latency of each message in seconds.
        took: The batches and transactions in the meantime.
    """

    due_s: Sequence[float]
    tokens: Sequence[int]
    latencies_s: Sequence[float]
    took: Sequence[Took]


@dataclass(slots=True, kw_only=True)
class Driver:
    """Sends messages and reads verdicts, on one thread. Neither delays the other for more than a moment."""

    worker: WorkerSubprocess
    log: Path
    topic: str
    verdicts: str
    producer: Producer
    reader: Consumer
    chance: Random
    sent: int = 0

    def play(self, due_s: Sequence[float]) -> Played:
        """Send each message when it is due, and wait for all verdicts.

        Args:
            due_s: When each message is due, in seconds from now, in ascending order.
        """
        first, given = self.sent, 0
        seen_s: dict[int, float] = {}
        tokens = [self._tokens() for _ in due_s]
        values = [value(number, words) for number, words in enumerate(tokens, first)]
        began_s = heard_s = time.monotonic()
        while len(seen_s) < len(due_s):
            now_s = time.monotonic()
            while given < len(due_s) and began_s + due_s[given] <= now_s:
                number = first + given
                self.producer.produce(self.topic, values[given], key=str(number), partition=number % PARTITIONS)
                given += 1
            self.producer.poll(0)
            if self._read(seen_s):
                heard_s = time.monotonic()
            elif now_s - max(heard_s, began_s + due_s[given - 1]) > SILENCE_S_MAX:
                raise SystemExit(
                    f"no verdict for {SILENCE_S_MAX} s; the worker's log ends:\n{self.worker.log_tail()}"
                )
        self.sent += given
        latencies_s = [seen_s[first + number] - began_s - due for number, due in enumerate(due_s)]
        took = [took for took in read_log(self.log) if took.began_s >= began_s]
        return Played(due_s=due_s, tokens=tokens, latencies_s=latencies_s, took=took)

    def _read(self, seen_s: dict[int, float]) -> int:
        """Record when each verdict became visible. Return the number of new verdicts."""
        message = self.reader.poll(LOOK_S)
        if message is None:
            return 0
        messages = [message, *self.reader.consume(READ_RECORDS, 0)]
        now_s = time.monotonic()
        before = len(seen_s)
        for one in messages:
            if one.error() is None and one.topic() == self.verdicts:
                seen_s.setdefault(int(one.key() or b""), now_s)
        return len(seen_s) - before

    def _tokens(self) -> int:
        """Return the number of tokens of a message. Most texts are short, some are long."""
        return min(1 + int(self.chance.expovariate(1 / (WORDS_MEAN - 1))), 100)


def value(number: int, words: int) -> bytes:
    """Return a message with a unique text. The device counts each word as a token."""
    return orjson.dumps({"text": f"{number} " + "word " * (words - 1), "message_id": str(number)})


@contextmanager
def driver(
    wait_ms_max: int | None, commit_ms_max: int | None
) -> Iterator[tuple[Driver, dict[str, str], KafkaNames]]:
    """Start a Kafka, a worker and a driver that sends to the worker."""
    names = KafkaNames.with_prefix("")
    settings = {
        name: str(value)
        for name, value in (
            ("WORKER_BATCH__WAIT_MS_MAX", wait_ms_max),
            ("WORKER_BATCH__COMMIT_MS_MAX", commit_ms_max),
        )
        if value is not None
    }
    with running_broker(progress=side_by_side.say) as broker, tempfile.TemporaryDirectory() as folder:
        client = {"bootstrap.servers": broker.bootstrap_servers}
        create_topics(client, names.specs)
        worker, log = start(
            Path(folder),
            names,
            bootstrap_servers=broker.bootstrap_servers,
            number=1,
            device=DEVICE,
            settings=settings,
        )
        try:
            with open_reader(client, list(names.outputs.values())) as reader:
                yield (
                    Driver(
                        worker=worker,
                        log=log,
                        topic=names.input,
                        verdicts=names.outputs[Topic.VERDICT],
                        # Idempotence allows five requests in flight. Without it there can be a million: a busy
                        # broker then answers after seconds, and the figures show only this queue of requests.
                        producer=Producer({"log_level": 0, **client, "linger.ms": 1, "enable.idempotence": True}),
                        reader=reader,
                        chance=Random(SEED),  # noqa: S311 - no secret
                    ),
                    client,
                    names,
                )
        finally:
            worker.kill()


def schedule(segments: Sequence[Segment], chance: Random) -> list[float]:
    """Return when each message is due. Times are random within a segment, as if independent people sent."""
    due_s: list[float] = []
    begins_s = 0.0
    for seconds, per_second in segments:
        due_s += sorted(begins_s + chance.random() * seconds for _ in range(round(seconds * per_second)))
        begins_s += seconds
    return due_s


def loads(capacity: float, seconds: float) -> dict[str, list[Segment]]:
    """Return the segments of each load, by its name."""
    steady = {f"{share:.0%} of the capacity": [(seconds, share * capacity)] for share in SHARES}
    quiet = SHARES[0] * capacity
    bursts = max(1, round(seconds / BURST_EVERY_S))
    course = [(BURST_EVERY_S - 4.0, quiet), (1.0, BURST_TIMES * quiet), (3.0, quiet)] * bursts
    return {**steady, f"{SHARES[0]:.0%}, a second of {BURST_TIMES * SHARES[0]:.0%} every {BURST_EVERY_S} s": course}


def capacity_of(took: Sequence[Took]) -> float:
    """Return messages a second, from the first to the last batch that is at least half as large as the largest."""
    batches = [one for one in took if one.what == BATCH]
    most = max(one.records for one in batches)
    full = [number for number, one in enumerate(batches) if one.records >= most // 2]
    between = batches[full[0] : full[-1]]
    return sum(one.records for one in between) / (batches[full[-1]].began_s - batches[full[0]].began_s)


def without_overhead(due_s: Sequence[float], tokens: Sequence[int], commit_s: float) -> list[float]:
    """Return the latencies, in seconds, of a worker that needs time only for batches and commits.

    A batch begins when the device is free and a message is there. It has all messages that are due. Its results are
    committed at once if no other commit is in progress. Otherwise they wait. One commit has all results that wait.

    Args:
        due_s: When each message is due, in seconds, in ascending order.
        tokens: Number of tokens of each message.
        commit_s: Time of each commit in seconds.
    """
    firsts: list[int] = []  # the first message of each batch
    ends_s: list[float] = []  # when the device has scored each batch
    last = 0
    while last < len(due_s):
        firsts.append(last)
        begins_s = max(ends_s[-1] if ends_s else 0.0, due_s[last])
        last = min(bisect_right(due_s, begins_s), last + RECORDS_MAX)
        ends_s.append(begins_s + DEVICE.seconds(sum(tokens[firsts[-1] : last])))
    firsts.append(len(due_s))
    latencies_s: list[float] = []
    batch, committed_s = 0, 0.0
    while batch < len(ends_s):
        begins_s = max(ends_s[batch], committed_s)
        batch, committed_s = bisect_right(ends_s, begins_s), begins_s + commit_s
        latencies_s += [committed_s - due for due in due_s[len(latencies_s) : firsts[batch]]]
    return latencies_s


def row(load: str, played: Played, seconds: float) -> Row:
    """Return the figures of one load."""
    latencies_s = played.latencies_s
    batches = [one for one in played.took if one.what == BATCH]
    commits = [one.seconds for one in played.took if one.what == COMMIT]
    batch_s, commit_s = statistics.mean(one.seconds for one in batches), statistics.mean(commits)
    p50, p90, p99, longest = (
        round(1000 * side_by_side.percentile(latencies_s, share), 1) for share in (0.5, 0.9, 0.99, 1)
    )
    return Row(
        load=load,
        messages=len(latencies_s),
        per_second=round(len(latencies_s) / seconds, 1),
        p50=p50,
        p90=p90,
        p99=p99,
        longest=longest,
        batch=round(1000 * batch_s, 1),
        batch_records=round(statistics.mean(one.records for one in batches), 1),
        commit=round(1000 * commit_s, 1),
        commit_p99=round(1000 * side_by_side.percentile(commits, 0.99), 1),
        commits_per_second=round(len(commits) / seconds, 1),
        bound=round(2000 * (batch_s + commit_s), 1),
        p99_without_overhead=round(
            1000 * side_by_side.percentile(without_overhead(played.due_s, played.tokens, commit_s), 0.99), 1
        ),
    )


def median_row(rows: Sequence[Row]) -> Row:
    """Return the median of each figure."""
    figures = [asdict(one) for one in rows]
    names = [name for name in figures[0] if name != "load"]
    return Row(load=rows[0].load, **{name: statistics.median(one[name] for one in figures) for name in names})


def main() -> None:
    """Measure each load, account for every message, then draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--saturated-messages", type=int, default=SATURATED_MESSAGES)
    parser.add_argument("--wait-ms-max", type=int, help="the worker's WORKER_BATCH__WAIT_MS_MAX")
    parser.add_argument("--commit-ms-max", type=int, help="the worker's WORKER_BATCH__COMMIT_MS_MAX")
    given = parser.parse_args()
    chance = Random(SEED)  # noqa: S311 - no secret
    rows: dict[str, list[Row]] = {}
    with driver(given.wait_ms_max, given.commit_ms_max) as (drive, client, names):
        drive.play(schedule([WARM_UP], chance))
        capacity = capacity_of(drive.play([0.0] * given.saturated_messages).took)
        side_by_side.say(f"capacity: {capacity:,.0f} messages/s")
        for number in range(1, given.rounds + 1):
            for load, course in loads(capacity, given.seconds).items():
                played = drive.play(schedule(course, chance))
                rows.setdefault(load, []).append(row(load, played, sum(seconds for seconds, _ in course)))
                side_by_side.say(f"round {number} of {given.rounds}: {rows[load][-1]}")
        ledger = audit(*read_topics(client, inputs=[names.input], outputs=names.outputs))
    side_by_side.say(str(ledger))
    if not ledger.clean:
        raise SystemExit("; ".join(ledger.examples))
    medians = [median_row(same) for same in rows.values()]
    side_by_side.write(
        "latency",
        {
            "what": "milliseconds from a message's scheduled sending to its visible verdict at read_committed",
            "device": asdict(DEVICE),
            "tokens_a_message": WORDS_MEAN,
            "seconds_of_a_load": given.seconds,
            "rounds": given.rounds,
            "capacity_messages_per_second": round(capacity),
            "loads": [asdict(one) for one in medians],
            "ledger": str(ledger),
        },
    )
    draw("bench-latency")


if __name__ == "__main__":
    main()
