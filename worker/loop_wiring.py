"""Build the session, the loop and telemetry from the settings. ``running`` runs them.

The settings are not passed on: each part gets its own small dataclass.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from worker.batching import BatchBounds, InFlightLimit
from worker.errors import ExitCode
from worker.kafka.input_ends import InputEnds
from worker.kafka.offset_reset import OffsetReset
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.session_options import SessionOptions
from worker.loop import Loop, LoopTimings, TransactionalSession
from worker.moderation.cache import ScoreCache
from worker.moderation.dead_letter_share import DeadLetterShare, ShareBounds
from worker.moderation.markup import Markup
from worker.moderation.output_judge import OutputJudge
from worker.moderation.policies import FixedPolicy, Policy
from worker.moderation.shapes import is_readable
from worker.records import ScoredRecord, Topic
from worker.settings import Exporters, Settings, admin_config, consumer_config, producer_config
from worker.stage import WatchedExecutor
from worker.status import StatusSnapshot
from worker.wiring import (
    VERSION,
    Guard,
    PolicyHolder,
    ScoringModel,
    input_reader,
    make_outputs,
    make_policy,
    make_prepare,
    now_rfc3339,
    unguarded,
)

if TYPE_CHECKING:
    from worker.telemetry import RunningTelemetry, Telemetry

BATCHES_IN_MEMORY = 4  # in preparation, in the queue, at the device, and scored
BATCH_RECORDS_USUAL = 1024  # the default of WORKER_BATCH__RECORDS_MAX
TRANSACTION_RECORDS = 6144
"""Results that fill a transaction. A commit takes 5 to 10 ms, however many records it has: 1 to 2 us for each of
these. Besides the batches, memory holds two full transactions: one is committed while the next one fills."""
BYTES_IN_MEMORY = 16 * 2**20
"""Bytes of the messages as received: 1 kB each in 16,384 messages. Decoded strings and outputs take more."""


def records_in_memory_max(batch_records_max: int) -> int:
    """Return how many records fill the memory.

    Who lowers WORKER_BATCH__RECORDS_MAX gets small transactions too: a broker's quota may not let a large one end
    in time.
    """
    transactions = 2 * TRANSACTION_RECORDS if batch_records_max >= BATCH_RECORDS_USUAL else 0
    return BATCHES_IN_MEMORY * batch_records_max + transactions


def monotonic_ms() -> int:
    """Return monotonic milliseconds: the clock of every decision."""
    return time.monotonic_ns() // 1_000_000


def topic_names(settings: Settings) -> dict[Topic, str]:
    """Return the names of the output topics."""
    kafka = settings.kafka
    return {
        Topic.VERDICT: kafka.verdict_topic,
        Topic.ALERT: kafka.alert_topic,
        Topic.DEAD_LETTER: kafka.dead_letter_topic,
    }


def start_telemetry(
    settings: Settings, exporters: Exporters, snapshot: Callable[[], StatusSnapshot]
) -> "RunningTelemetry | None":
    """Start telemetry if an exporter is set; otherwise return None and import nothing."""
    if not (exporters.otlp_metrics or exporters.otlp_traces or exporters.prometheus):
        return None
    from worker.telemetry import MessagingAttributes, TelemetryOptions, open_telemetry  # noqa: PLC0415 - takes a third of a second

    kafka = settings.kafka
    return open_telemetry(
        TelemetryOptions(
            otlp_metrics=exporters.otlp_metrics,
            otlp_traces=exporters.otlp_traces,
            prometheus=exporters.prometheus,
            messaging=MessagingAttributes(
                group_id=kafka.group_id,
                input_topics=kafka.input_topics,
                topics=topic_names(settings),
            ),
            version=VERSION,
            instance_id=kafka.transactional_id,
        ),
        snapshot,
    )


def session_options(settings: Settings) -> SessionOptions:
    """Return the options of the session."""
    kafka = settings.kafka
    match kafka.auto_offset_reset:
        case "earliest":
            reset = OffsetReset()
        case "error":
            reset = OffsetReset(refuse=True)
        case at:
            reset = OffsetReset(time_ms=round(at.timestamp() * 1000))
    return SessionOptions(
        consumer_config=consumer_config(kafka),
        input_topics=kafka.input_topics,
        offset_reset=reset,
        incremental_rebalance=kafka.group_protocol == "consumer"
        or kafka.partition_assignment_strategy == "cooperative-sticky",
        admin_config=admin_config(kafka),
        is_readable=partial(is_readable, input_reader(settings)),
        publisher=PublisherOptions(
            config=producer_config(kafka),
            admin_config=admin_config(kafka),
            topics=topic_names(settings),
            transactional_id=kafka.transactional_id,
            transaction_timeout_ms=kafka.transaction_timeout_ms,
            group_id=kafka.group_id,
            group_instance_id=kafka.group_instance_id,
        ),
    )


def open_input_ends(settings: Settings) -> InputEnds:
    """Return the ends of the input, for a worker that stops there. The first ``update`` asks for them."""
    kafka = settings.kafka
    return InputEnds(admin_config(kafka), group_id=kafka.group_id, topics=kafka.input_topics)


def open_loop(
    settings: Settings,
    model: ScoringModel,
    session: TransactionalSession,
    telemetry: "Telemetry | None" = None,
    guard: Guard = unguarded,
    *,
    policy: PolicyHolder | None = None,
    observe: Callable[[Sequence[ScoredRecord]], None] | None = None,
    markup: Markup | None = None,
) -> Loop:
    """Return the loop with its two threads, over a session, with telemetry and the watchdog around them.

    The policy is the one of the settings if none is given. ``observe`` is called with the results of each commit.
    ``markup`` is that of the texts, if it is not that of the shape.
    """
    batch, dead_letter = settings.batch, settings.dead_letter
    holder = policy or FixedPolicy(make_policy(settings))

    def in_force() -> Policy:
        return holder.current

    cache = ScoreCache(bytes_max=settings.cache.bytes_max)
    bounds = BatchBounds(
        records_max=batch.records_max,
        tokens_max=model.batch_tokens_max,
        wait_ms_max=batch.wait_ms_max,
    )
    preparer: Executor = ThreadPoolExecutor(1, "preparer")
    watch = guard("device", batch.score_ms_max, ExitCode.MODEL)
    device: Executor = WatchedExecutor(ThreadPoolExecutor(1, "device"), lambda: watch("scoring a batch"))
    if telemetry is not None:
        session, preparer = telemetry.session(session), telemetry.preparer(preparer)
        device = telemetry.device(device, bounds)
    return Loop(
        session=session,
        prepare=make_prepare(settings, model, cache, guard, in_force, markup=markup),
        scorer=model,
        cache=cache,
        judge=OutputJudge(make_outputs(settings, model, in_force()), now_rfc3339, in_force),
        share=DeadLetterShare(
            ShareBounds(
                model_share_max=dead_letter.model_share_max,
                input_share_max=dead_letter.input_share_max,
                window_records=dead_letter.window_records,
            )
        ),
        bounds=bounds,
        in_flight=InFlightLimit(
            records_max=records_in_memory_max(batch.records_max),
            bytes_max=BYTES_IN_MEMORY,
            tokens_max=BATCHES_IN_MEMORY * model.batch_tokens_max,
        ),
        transaction_records=TRANSACTION_RECORDS,
        observe=observe,
        timings=LoopTimings(commit_ms_max=batch.commit_ms_max, slow_ms=settings.kafka.transaction_timeout_ms // 2),
        clock=monotonic_ms,
        preparer=preparer,
        device=device,
    )
