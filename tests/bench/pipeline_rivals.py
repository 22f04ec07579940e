"""Run a rival of the worker: ``python -m tests.bench.pipeline_rivals NAME PLAN``, with PLAN as JSON.

Each contender does for a message what the worker does: it reads and tokenises the message, and produces the
contract's verdict. None of them handles what the worker handles: no cache, no dead letters, no rebalances, no
uncertain commits. This module imports little, and nothing of the worker, so that it also runs in the environment of
a contender. Each contender runs until it is killed.
"""

import hashlib
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from tokenizers import Tokenizer

from schemas.labels import CATEGORY_SLUGS

TOKENS_MAX = 512
THRESHOLD = 0.5
SCORES = (0.1,) * len(CATEGORY_SLUGS)
"""The null model's answer to every text."""

HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/json")]
WAIT_S = 0.1


class Source(NamedTuple):
    """Place of a message in the input topic."""

    partition: int
    offset: int
    timestamp_ms: int


class Work:
    """The work for a message between reading it and producing its verdict."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._topic = plan["input"]
        self._model = plan["model"]
        self._policy = plan["policy"]
        self._judge = (self._model["revision"], self._model["dtype"], self._policy["version"])
        self._tokenizer = Tokenizer.from_file(plan["tokenizer"])
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=TOKENS_MAX)

    def prepare(self, values: Sequence[bytes]) -> tuple[list[Any], list[list[int]]]:
        """Decode and tokenise the messages."""
        chats = [orjson.loads(value) for value in values]
        encodings = self._tokenizer.encode_batch_fast([chat["text"] for chat in chats])
        return chats, [encoding.ids for encoding in encodings]

    def verdict(self, chat: Any, tokens: Sequence[int], source: Source, judged_at: str) -> bytes:
        """Return the verdict on a message that the null model has scored."""
        place = {
            "topic": self._topic,
            "partition": source.partition,
            "offset": source.offset,
            "timestamp_ms": source.timestamp_ms,
        }
        name = orjson.dumps(["verdict/1", *self._judge, self._topic, source.partition, source.offset])
        categories = {slug: score > THRESHOLD for slug, score in zip(CATEGORY_SLUGS, SCORES, strict=True)}
        max_score = max(SCORES)
        return orjson.dumps(
            {
                "schema": "verdict/1",
                "verdict_id": hashlib.sha256(name).hexdigest()[:32],
                "message_id": chat.get("message_id"),
                "channel_id": chat.get("channel_id"),
                "user_id": chat.get("user_id"),
                "sent_at": chat.get("sent_at"),
                "flagged": max_score > THRESHOLD,
                "categories": categories,
                "category_scores": dict(zip(CATEGORY_SLUGS, SCORES, strict=True)),
                "max_score": max_score,
                "top_category": CATEGORY_SLUGS[SCORES.index(max_score)],
                "model": self._model,
                "policy": self._policy,
                "input": {
                    "characters": len(chat["text"]),
                    "tokens": len(tokens),
                    "truncated": len(tokens) == TOKENS_MAX,
                },
                "source": place,
                "judged_at": judged_at,
            }
        )


def now_rfc3339() -> str:
    """Return the time as the worker writes it."""
    instant = datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def bare(plan: Mapping[str, Any], work: Work) -> None:
    """Use the bare client in two threads: one reads, judges and commits, the other decodes and tokenises."""
    consumer = Consumer({**plan["consumer"], "auto.offset.reset": "earliest", "enable.partition.eof": False})
    producer = Producer(plan["producer"])
    producer.init_transactions()
    consumer.subscribe([plan["input"]])
    for messages, chats, token_lists in prepared(consumer, work, plan["transaction_records"]):
        producer.begin_transaction()
        judged_at = now_rfc3339()
        for message, chat, tokens in zip(messages, chats, token_lists, strict=True):
            source = Source(message.partition() or 0, message.offset() or 0, message.timestamp()[1])
            producer.produce(
                plan["output"],
                work.verdict(chat, tokens, source, judged_at),
                message.key(),
                partition=source.partition,
                headers=HEADERS,
            )
        ends = {message.partition(): (message.offset() or 0) + 1 for message in messages}
        offsets = [TopicPartition(plan["input"], number or 0, end) for number, end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()


def prepared(
    consumer: Consumer, work: Work, records_max: int
) -> Iterator[tuple[list[Message], list[Any], list[list[int]]]]:
    """Yield the prepared messages. Each chunk is prepared while the chunk before is judged and committed."""
    before = None
    with ThreadPoolExecutor(1) as preparer:
        while True:
            messages = consumer.consume(records_max, WAIT_S)
            under_way = None
            if messages:
                under_way = (
                    messages,
                    preparer.submit(work.prepare, [message.value() or b"" for message in messages]),
                )
            if before is not None:
                read, answer = before
                yield read, *answer.result()
            before = under_way


def per_message(plan: Mapping[str, Any], work: Work) -> None:
    """Flush and commit after each message, as many examples do: at least once, not exactly once."""
    consumer = Consumer({**plan["consumer"], "auto.offset.reset": "earliest", "enable.partition.eof": False})
    no_wait = {"linger.ms": 0, "acks": "all"}
    properties = {name: value for name, value in plan["producer"].items() if not name.startswith("transaction")}
    producer = Producer(properties | no_wait)
    consumer.subscribe([plan["input"]])
    while True:
        message = consumer.poll(WAIT_S)
        if message is None:
            continue
        (chat,), (tokens,) = work.prepare([message.value() or b""])
        source = Source(message.partition() or 0, message.offset() or 0, message.timestamp()[1])
        value = work.verdict(chat, tokens, source, now_rfc3339())
        producer.produce(plan["output"], value, message.key(), partition=source.partition, headers=HEADERS)
        producer.flush()
        consumer.commit(message=message, asynchronous=False)


def quix(plan: Mapping[str, Any], work: Work) -> None:
    """Run Quix Streams, exactly once. Values are bytes on both sides, because its own JSON would cost more."""
    quixstreams = importlib.import_module("quixstreams")
    message_context: Callable[[], Any] = quixstreams.message_context

    def judge(value: bytes, _key: Any, timestamp_ms: int, _headers: Any) -> bytes:
        (chat,), (tokens,) = work.prepare([value])
        at = message_context()
        return work.verdict(chat, tokens, Source(at.partition, at.offset, timestamp_ms), now_rfc3339())

    # Quix Streams' own settings decide the guarantees; the worker's decide fetching, batching and compression.
    app = quixstreams.Application(
        broker_address=plan["consumer"]["bootstrap.servers"],
        consumer_group=plan["consumer"]["group.id"],
        processing_guarantee="exactly-once",
        commit_interval=plan["commit_interval_s"],
        auto_offset_reset="earliest",
        consumer_extra_config=_chosen(plan["consumer"], "queued", "fetch", "session"),
        producer_extra_config=_chosen(plan["producer"], "linger", "compression", "batch", "message", "retry"),
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="WARNING",
    )
    chat = app.topic(plan["input"], key_deserializer="bytes", value_deserializer="bytes")
    verdicts = app.topic(plan["output"], key_serializer="bytes", value_serializer="bytes")
    frame = app.dataframe(chat).apply(judge, metadata=True)
    frame.set_headers(lambda *_: HEADERS).to_topic(verdicts)
    app.run()


def _chosen(properties: Mapping[str, Any], *beginnings: str) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if name.startswith(beginnings)}


def main() -> None:
    """Run one contender. A line on standard output has the CPU time of the start-up."""
    name, plan = sys.argv[1], json.loads(sys.argv[2])
    work = Work(plan)
    if name == "quix":
        importlib.import_module("quixstreams")
    sys.stdout.write(json.dumps({"ready_cpu_s": time.process_time(), "versions": _versions(name)}) + "\n")
    sys.stdout.flush()
    {"bare": bare, "per message": per_message, "quix": quix}[name](plan, work)


def _versions(name: str) -> dict[str, str]:
    version = importlib.import_module("importlib.metadata").version
    packages = ["confluent-kafka", "orjson", "tokenizers"] + ["quixstreams"] * (name == "quix")
    return {package: version(package) for package in packages}


if __name__ == "__main__":
    main()
