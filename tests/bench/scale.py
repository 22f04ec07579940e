"""Measure messages a second of 1, 2, 4 and 8 workers in one group: ``python -m tests.bench.scale``.

The workers are processes with a stub model that behaves like a device (``device_bound``). The device is so slow
that this machine can feed eight workers. So only the group, the topic and the broker could keep eight workers from
eight times the throughput. Each run has topics and a group of its own. Once every worker has partitions, the script
waits a moment and then watches the committed offsets for a window. The figure is messages a second from each
worker's first commit in the window to its last. At the end every message below the committed offsets must have one
verdict, and no message above them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import orjson
from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.bench import side_by_side
from tests.bench.device_bound import Device, start
from tests.bench.pictures import draw
from worker.commands.broker.embedded import running_broker
from worker.commands.ledger import audit
from worker.commands.ledger_reader import read_topics
from worker.commands.prove.kafka_names import KafkaNames
from worker.commands.prove.worker_subprocess import WorkerSubprocess
from worker.errors import ExitCode
from worker.kafka.topics import contract_topics, create_topics
from worker.records import Topic

DEVICE = Device(launch_ms=20, tokens_per_second=3000, batch_tokens_max=1000)
WORDS = 10
WORKERS = (1, 2, 4, 8)
PARTITIONS = 16
JOIN_S_MAX = 60
SETTLE_S = 2
SPARE_S = 18
"""Seconds of additional work: for the settling, for workers that begin first, and as a rest at the end."""
LOOK_S = 0.02
ANSWER_S_MAX = 10
LOOKS_MIN = 3
SETTINGS: Mapping[str, str] = {"WORKER_KAFKA__PROPERTIES": '{"consumer.heartbeat.interval.ms": "500"}'}
"""Members learn of a rebalance at their next heartbeat, so frequent heartbeats let all members join sooner."""

Look = tuple[float, int]
"""A moment in seconds, and the messages that were committed until then."""


@dataclass(slots=True, kw_only=True)
class Group:
    """Workers with topics of their own."""

    client: Mapping[str, str]
    names: KafkaNames
    workers: Sequence[WorkerSubprocess]
    consumer: Consumer
    admin: AdminClient
    shares: Collection[frozenset[int]] = ()

    def await_members(self) -> None:
        """Wait until each worker has its share of the partitions."""
        deadline_s = time.monotonic() + JOIN_S_MAX
        while time.monotonic() < deadline_s:
            self._check()
            shares = self._shares()
            if len(shares) == len(self.workers) and all(shares):
                self.shares = shares
                return
            time.sleep(LOOK_S)
        raise SystemExit(f"{len(self.workers)} workers did not share the topic within {JOIN_S_MAX} s")

    def _shares(self) -> set[frozenset[int]]:
        """Each member's partitions; none while they are being shared out."""
        described = self.admin.describe_consumer_groups([self.names.group], request_timeout=ANSWER_S_MAX)
        try:
            group = described[self.names.group].result()
        except KafkaException:  # there is no group yet, or its coordinator is busy
            return set()
        if group.state is not ConsumerGroupState.STABLE:
            return set()
        return {frozenset(at.partition for at in one.assignment.topic_partitions) for one in group.members}

    def committed(self) -> dict[int, int]:
        """Return the committed next offset of each partition."""
        asked = [TopicPartition(self.names.input, number) for number in range(PARTITIONS)]
        return {at.partition: max(0, at.offset) for at in self.consumer.committed(asked, timeout=ANSWER_S_MAX)}

    def watch(self, seconds: float) -> list[list[Look]]:
        """Return how the committed messages of each share grow, with a look for each commit that was seen."""
        looks: list[list[Look]] = [[] for _ in self.shares]
        ends_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < ends_s:
            self._check()
            committed = self.committed()
            for share, noticed in zip(self.shares, looks, strict=True):
                total = sum(committed[number] for number in share)
                if not noticed or total > noticed[-1][1]:
                    noticed.append((now_s, total))
            time.sleep(LOOK_S)
        if self._shares() != self.shares or any(len(noticed) < LOOKS_MIN for noticed in looks):
            tails = "\n".join(worker.log_tail() for worker in self.workers)
            raise SystemExit(f"the group was not steady; its logs end:\n{tails}")
        return looks

    def drain(self) -> None:
        """End the workers with SIGTERM, as an orchestrator does."""
        for worker in self.workers:
            if (code := worker.drain()) != ExitCode.DONE:
                raise SystemExit(f"{worker.name} ended with {code}; its log ends:\n{worker.log_tail()}")

    def _check(self) -> None:
        for worker in self.workers:
            if worker.exit_code is not None:
                raise SystemExit(f"{worker.name} ended; its log ends:\n{worker.log_tail()}")


@contextmanager
def group(bootstrap_servers: str, name: str, workers: int, messages: int) -> Iterator[Group]:
    """Make topics with messages, and start workers that read them."""
    names, client = KafkaNames.with_prefix(f"{name}."), {"bootstrap.servers": bootstrap_servers}
    outputs = names.outputs
    create_topics(
        client,
        contract_topics(
            inputs=[names.input],
            verdicts=outputs[Topic.VERDICT],
            alerts=outputs[Topic.ALERT],
            dead_letters=outputs[Topic.DEAD_LETTER],
            partitions=PARTITIONS,
        ),
    )
    fill(client, names.input, messages)
    consumer = Consumer({"log_level": 0, **client, "group.id": names.group, "enable.auto.commit": False})
    with tempfile.TemporaryDirectory() as folder:
        started: list[WorkerSubprocess] = []
        try:
            for number in range(workers):
                worker, _ = start(
                    Path(folder),
                    names,
                    bootstrap_servers=bootstrap_servers,
                    number=number,
                    device=DEVICE,
                    settings=SETTINGS,
                )
                started.append(worker)
            yield Group(
                client=client,
                names=names,
                workers=started,
                consumer=consumer,
                admin=AdminClient({"log_level": 0, **client}),
            )
        finally:
            for worker in started:
                worker.kill()
            consumer.close()


def fill(client: Mapping[str, str], topic: str, messages: int) -> None:
    """Write the same number of messages to each partition. All texts differ and have the same number of tokens."""
    producer = Producer({"log_level": 0, **client, "linger.ms": 20, "compression.type": "lz4"})
    words = " word" * (WORDS - 1)
    for number in range(messages):
        value = orjson.dumps({"text": f"{number}{words}", "message_id": str(number)})
        while True:
            try:
                producer.produce(topic, value, partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(1)
    if producer.flush(JOIN_S_MAX):
        raise SystemExit("the broker does not accept the messages")


def per_second(looks: Sequence[Sequence[Look]]) -> float:
    """Add up the rates of all shares, each between its first and last commit, so that only whole batches count."""
    return sum((noticed[-1][1] - noticed[1][1]) / (noticed[-1][0] - noticed[1][0]) for noticed in looks)


def account(run: Group) -> str:
    """Check that each committed message has its verdict, and no other message has one. End the benchmark if not."""
    committed = run.committed()
    given, seen = read_topics(run.client, inputs=[run.names.input], outputs=run.names.outputs)
    done = [one for one in given if one.offset < committed[one.partition.number]]
    ledger = audit(done, seen)
    if not ledger.clean:
        raise SystemExit(f"{ledger}: {'; '.join(ledger.examples)}")
    left = {one.partition.number for one in given if one.offset >= committed[one.partition.number]}
    if not all(share & left for share in run.shares):
        raise SystemExit("a worker had nothing left to judge: more messages are needed")
    return str(ledger)


def measured(bootstrap_servers: str, name: str, workers: int, seconds: float) -> float:
    """Return messages a second of this number of workers."""
    one_s = (1000 / WORDS) / DEVICE.seconds(1000)
    messages = round(workers * one_s * (seconds + SPARE_S))
    with group(bootstrap_servers, name, workers, messages) as run:
        run.await_members()
        time.sleep(SETTLE_S)
        looks = run.watch(seconds)
        run.drain()
        side_by_side.say(f"{name}: {account(run)}")
    return per_second(looks)


def main() -> None:
    """Measure each number of workers, then draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each window")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    given = parser.parse_args()
    runs = count(1)
    with running_broker(progress=side_by_side.say) as broker:

        def contender(workers: int) -> Callable[[], float]:
            def run() -> float:
                return measured(broker.bootstrap_servers, f"run-{next(runs)}", workers, given.seconds)

            return run

        names = {workers: f"{workers} worker{'s' if workers > 1 else ''}" for workers in given.workers}
        figures = side_by_side.medians(
            {name: contender(workers) for workers, name in names.items()}, rounds=given.rounds
        )
    least = names[min(given.workers)]
    ratios = side_by_side.ratios(figures, to=least)
    for name, value in figures.items():
        side_by_side.say(f"{name}: {value:,.0f} messages/s, {ratios[name]:.2f} times {least}")
    side_by_side.write(
        "scale",
        {
            "what": "messages/s by committed offsets, workers in one group, each bound by a device of its own",
            "device": asdict(DEVICE),
            "tokens_a_message": WORDS,
            "partitions": PARTITIONS,
            "seconds_of_a_window": given.seconds,
            "rounds": given.rounds,
            "messages_per_second": {name: round(value, 1) for name, value in figures.items()},
            "ratios": ratios,
        },
    )
    draw("bench-scale")


if __name__ == "__main__":
    main()
