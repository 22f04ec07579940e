"""Builds the parts from the settings, and runs the worker: the only place that knows them all.

Settings do not travel: each part gets its own small dataclass. What is slow to import (torch) is imported by the
function that needs it.
"""

import gc
import logging
import os
import platform
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from schemas import verdict
from schemas.chat import InputShape, parse_pointer
from worker.batching import Bounds, Intake
from worker.cache import Cache
from worker.dead_letter_share import DeadLetterShare, ShareBounds
from worker.errors import ExitCode, Stop
from worker.loop import Judge, Log, Loop, Pace, Prepare, Scorer
from worker.outputs import Outputs
from worker.ownership import Reset
from worker.policy import Policy
from worker.preparing import Encode, Encoded, prepare
from worker.publisher import PublisherOptions
from worker.records import Fetched, ModelIdentity, Output, Partition, Record, Result, Topic
from worker.session import Session, SessionOptions
from worker.settings import Settings, admin_config, consumer_config, producer_config
from worker.watchdog import Watchdog, end

if TYPE_CHECKING:
    from worker.classifier import Classifier

log = logging.getLogger(__name__)

VERSION = version("moderation-worker")
PROGRESS_MS = 10_000
CLOSE_MS_MAX = 3_000
BATCHES_IN_MEMORY = 4  # in preparation, in the line, on the device, and as results
BYTES_IN_MEMORY = 64 * 2**20
OBJECTS_IN_MEMORY = 100_000  # more than the records in memory are made of


class Model(Scorer, Protocol):
    """What judges: the classifier, or the proof's stand-in for it."""

    @property
    def identity(self) -> ModelIdentity:
        """What it is."""

    @property
    def batch_tokens_max(self) -> int:
        """Tokens to score at once."""

    @property
    def fallbacks(self) -> Sequence[str]:
        """A sentence for each fall-back taken, for the start-up line."""

    def encode(self, texts: Sequence[str]) -> Sequence[Encoded]:
        """Tokens of each text, in order."""


OpenModel = Callable[[Settings, Callable[[str], None]], Model]
"""Makes it, and tells of what takes long."""


def monotonic_ms() -> int:
    """The clock that decides."""
    return time.monotonic_ns() // 1_000_000


def now_rfc3339() -> str:
    """The clock that people read; it decides nothing."""
    return verdict.rfc3339(time.time_ns() // 1_000_000)


def input_shape(settings: Settings) -> InputShape:
    """How the input is read."""
    given = settings.input
    return InputShape(
        format=given.format,
        text=parse_pointer(given.text_pointer),
        message_id=parse_pointer(given.message_id_pointer),
        channel_id=parse_pointer(given.channel_id_pointer),
        user_id=parse_pointer(given.user_id_pointer),
        sent_at=parse_pointer(given.sent_at_pointer),
        bytes_max=given.bytes_max,
    )


def open_classifier(settings: Settings, say: Callable[[str], None]) -> "Classifier":
    """Loads, verifies and warms up the model; torch is imported here.

    Raises:
        ModelBroken: With what to do about it.
    """
    from worker.classifier import ModelOptions, load  # noqa: PLC0415 - takes seconds

    given = settings.model
    bound = settings.batch.tokens_max
    return load(
        ModelOptions(
            path=given.path,
            revision=given.revision,
            tokenizer=given.tokenizer,
            tokenizer_revision=given.tokenizer_revision,
            device=given.device,
            dtype=given.dtype,
            tokens_max=given.tokens_max,
            threads=given.threads,
            batch_tokens_max=None if bound == "auto" else bound,
        ),
        say,
    )


def preparing(settings: Settings, encode: Encode, cache: Cache) -> Prepare:
    """From fetched messages to records."""
    shape = input_shape(settings)

    def prepared(chunk: Sequence[Fetched]) -> list[Record]:
        return prepare(chunk, shape=shape, characters_max=settings.input.characters_max, encode=encode, cache=cache)

    return prepared


def outputs_of(settings: Settings, model: Model) -> Outputs:
    """From results to what is published."""
    policy = settings.policy
    return Outputs(
        model={
            "name": model.identity.name,
            "revision": model.identity.revision,
            "commit": model.identity.commit,
            "dtype": model.identity.dtype,
        },
        policy=Policy.of(policy.threshold, policy.thresholds, policy.version),
        shape=input_shape(settings),
        alert_text=settings.alert.text,
        record_bytes_max=settings.kafka.record_bytes_max,
        worker_version=VERSION,
    )


def judging(outputs: Outputs) -> Judge:
    """The loop's ``Judge``."""

    def judged(results: Sequence[Result], rejected: Collection[tuple[Partition, int]]) -> Sequence[Output]:
        return outputs.build(results, judged_at=now_rfc3339(), rejected=rejected)

    return judged


def session_options(settings: Settings) -> SessionOptions:
    """What the session needs to know."""
    kafka = settings.kafka
    match kafka.auto_offset_reset:
        case "earliest":
            reset = Reset()
        case "error":
            reset = Reset(refuse=True)
        case at:
            reset = Reset(time_ms=round(at.timestamp() * 1000))
    return SessionOptions(
        consumer_config=consumer_config(kafka),
        input_topics=kafka.input_topics,
        reset=reset,
        incremental=kafka.group_protocol == "consumer" or kafka.assignment_strategy == "cooperative-sticky",
        admin_config=admin_config(kafka),
        publisher=PublisherOptions(
            config=producer_config(kafka),
            topics={
                Topic.VERDICT: kafka.verdict_topic,
                Topic.ALERT: kafka.alert_topic,
                Topic.DEAD_LETTER: kafka.dead_letter_topic,
            },
            transactional_id=kafka.transactional_id,
            transaction_timeout_ms=kafka.transaction_timeout_ms,
        ),
    )


def open_loop(settings: Settings, model: Model, source: Log) -> Loop:
    """The owner and its two threads, over the session or another log."""
    batch, dead_letter = settings.batch, settings.dead_letter
    cache = Cache(bytes_max=settings.cache.bytes_max)
    return Loop(
        log=source,
        prepare=preparing(settings, model.encode, cache),
        scorer=model,
        cache=cache,
        judge=judging(outputs_of(settings, model)),
        share=DeadLetterShare(
            ShareBounds(
                model_share_max=dead_letter.model_share_max,
                input_share_max=dead_letter.input_share_max,
                window_records=dead_letter.window_records,
            )
        ),
        bounds=Bounds(
            records_max=batch.records_max,
            tokens_max=model.batch_tokens_max,
            wait_ms_max=batch.wait_ms_max,
        ),
        intake=Intake(records_max=BATCHES_IN_MEMORY * batch.records_max, bytes_max=BYTES_IN_MEMORY),
        pace=Pace(commit_ms_max=batch.commit_ms_max),
        clock=monotonic_ms,
        preparer=ThreadPoolExecutor(1, "preparer"),
        device=ThreadPoolExecutor(1, "device"),
    )


def run(settings: Settings, watchdog: Watchdog, open_model: OpenModel) -> None:
    """The worker, until a signal drains it; ends the process.

    Raises:
        Stop: The process must end; nothing is committed that should not be.
    """
    model = open_model(settings, log.info)
    session = Session(session_options(settings), clock=monotonic_ms, watch=watchdog.watch)
    loop = open_loop(settings, model, session)
    for line in start_up_lines(settings, model):
        log.info("%s", line)
    watchdog.begun(settings.kafka.transaction_timeout_ms)
    spare_the_collector()
    try:
        session.subscribe()
        progress = Progress(session, loop)
        while not watchdog.stopping:
            loop.turn()
            progress.tell(monotonic_ms())
    except Stop as stop:
        # Leaving the group lets the others go on at once; it must not keep this process alive.
        watchdog.end_after(CLOSE_MS_MAX, stop.exit_code)
        log.critical("%s", stop)
        session.close()
        end(stop.exit_code)
    grace_ms = settings.shutdown.grace_ms_max
    watchdog.end_after(grace_ms, ExitCode.DONE)
    drained = loop.drain(monotonic_ms() + grace_ms)
    session.close()
    log.info("%s: %s", "drained" if drained else "not drained in time; nothing is lost", progress.summary())
    end(ExitCode.DONE)


def spare_the_collector() -> None:
    """Keeps the cyclic garbage collector from what is no garbage.

    Records in memory look like a heap that grows, and for every few thousand of them it walked through all of the
    model's library, for 0.1 s: more time than all else together. What travels is freed by its reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_IN_MEMORY, *gc.get_threshold()[1:])


def start_up_lines(settings: Settings, model: Model) -> list[str]:
    """What runs, and every fall-back that was taken."""
    identity, kafka = model.identity, settings.kafka
    what = (
        f"moderation-worker {VERSION}: model {identity.name} (revision {identity.revision[:12]}) on "
        f"{identity.device}, {identity.dtype}, attention {identity.attention}, {identity.threads} threads, batches "
        f"of {model.batch_tokens_max} tokens; {', '.join(kafka.input_topics)} -> {kafka.verdict_topic}, "
        f"{kafka.alert_topic}, {kafka.dead_letter_topic} as {kafka.group_id} / {kafka.transactional_id}; Python "
        f"{platform.python_version()}, process {os.getpid()}"
    )
    return [what, *model.fallbacks]


@dataclass(slots=True)
class Progress:
    """A line now and then about what the loop has done."""

    session: Session
    loop: Loop
    _told_ms: int | None = None
    _told_records: int = 0
    _waited: bool = False

    def tell(self, now_ms: int) -> None:
        """Logs a line, when it is time for one and there is something to say."""
        if self._told_ms is None:
            self._told_ms = now_ms
        took_ms = now_ms - self._told_ms
        if took_ms < PROGRESS_MS:
            return
        records = self.loop.tally.records - self._told_records
        self._told_ms, self._told_records = now_ms, self.loop.tally.records
        if records:
            behind = self.session.backlog()
            rate = f"{records * 1000 // took_ms} messages/s, backlog {'not known' if behind is None else behind}"
            log.info("%s; %s", self.summary(), rate)
        elif not self.session.partitions and self.session.is_member and not self._waited:
            self._waited = True
            log.info("no partitions: the group has more workers than partitions; ready to help")

    def summary(self) -> str:
        """In all."""
        tally, cache, events = self.loop.tally, self.loop.cache, self.session.events
        told = "".join(f", {event.value} {count}" for event, count in sorted(events.items(), key=str))
        known = f"{cache.hits} of {cache.hits + cache.misses} texts known"
        return (
            f"{tally.records} messages in {tally.transactions} transactions, {known}, {tally.rewinds} rewinds{told}"
        )
