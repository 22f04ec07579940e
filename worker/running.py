"""Run the worker: open its parts, turn the loop until a signal or a fatal error, end the process."""

import gc
import logging
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker import health
from worker.errors import ExitCode, FatalError
from worker.kafka.input_ends import InputEnds
from worker.kafka.session import Session
from worker.loop import Loop
from worker.loop_wiring import monotonic_ms, open_loop, session_options, start_telemetry
from worker.moderation.alert_windows import count_windows
from worker.settings import LoadedSettings, Settings
from worker.status import Phase, StatusSnapshot, WorkerStatus
from worker.watchdog import Watchdog, end
from worker.wiring import (
    VERSION,
    OpenModel,
    PolicyHolder,
    ScoringModel,
    open_drift_reference,
    open_policy,
    score_drift,
)

if TYPE_CHECKING:
    from worker.moderation.drift_reference import DriftReference
    from worker.moderation.score_drift import ScoreDrift
    from worker.telemetry import RunningTelemetry, Telemetry

log = logging.getLogger(__name__)

PROGRESS_MS = 10_000
SNAPSHOT_MS = 1_000
CLOSE_MS_MAX = 3_000
OBJECTS_IN_MEMORY = 250_000  # more objects than the records in memory consist of
# Longest turn of the loop, for /livez and for the watchdog. The watchdog ends the process some seconds earlier
# when a call of a transaction hangs.
LIVE_MS_MAX, LIVE_BEYOND_TRANSACTION_MS = 30_000, 15_000


def run(
    loaded: LoadedSettings, watchdog: Watchdog, open_model: OpenModel, input_ends: InputEnds | None = None
) -> None:
    """Run the worker until a signal drains it, or until the input's ends are committed; then end the process.

    Args:
        loaded: The settings in effect.
        watchdog: Receives the signals.
        open_model: Loads the model.
        input_ends: The ends at which this worker stops by itself; None: it runs until a signal.

    Raises:
        FatalError: A part could not be opened. Nothing was committed.
    """
    settings, status = loaded.settings, WorkerStatus()
    policy, reference = open_policy(settings), open_drift_reference(settings)
    opened = start_telemetry(settings, loaded.exporters, lambda: status.snapshot)
    bound_ms = max(LIVE_MS_MAX, settings.kafka.transaction_timeout_ms + LIVE_BEYOND_TRANSACTION_MS)
    serve_health(settings, status, opened, bound_ms)
    model = open_model(settings, log.info)
    drift = open_drift(loaded, reference, model)
    telemetry = opened.telemetry if opened else None
    watch = telemetry.watch(watchdog.watch) if telemetry else watchdog.watch
    session = Session(session_options(settings), clock=monotonic_ms, watch=watch)
    loop = open_loop(
        settings,
        model,
        session,
        telemetry,
        watchdog.guard,
        policy=policy,
        observe=drift.observe if drift else None,
    )
    for line in start_up_lines(settings, model):
        log.info("%s", line)
    watchdog.arm(settings.kafka.transaction_timeout_ms, settings.shutdown.grace_ms_max, bound_ms)
    tune_garbage_collector()
    policy.start()
    progress = ProgressLog(session, loop)
    try:
        session.subscribe()
        update_status(status, model, session, loop, policy, drift=drift, telemetry=telemetry)
        status.phase = Phase.RUNNING
        hangups = 0
        while not (watchdog.stopping or ends_are_committed(input_ends, session)):
            if watchdog.hangups > hangups:
                hangups = watchdog.hangups
                session.release_quarantined()
                policy.check_soon()
            if policy.adopt():  # no transaction is open here
                loop.read_again()
            with watchdog.turn():
                loop.turn()
            update_status(status, model, session, loop, policy, drift=drift, telemetry=telemetry)
            progress.log_if_due(status.last_iteration_ms)
    except FatalError as stop:
        # Leaving the group gives the partitions to other workers immediately. A hanging close must not keep this
        # process alive.
        watchdog.end_after(CLOSE_MS_MAX, stop.exit_code)
        log.critical("%s", stop)
        session.close()
        if opened:
            opened.close()
        end(stop.exit_code)
    status.phase = Phase.STOPPING
    if not watchdog.stopping:
        log_the_end(session)
        watchdog.end_after(settings.shutdown.grace_ms_max, ExitCode.DONE)
    drain(loop, session, progress, monotonic_ms() + watchdog.grace_left_ms)
    if opened:
        opened.close()
    end(watchdog.signal_code if watchdog.stopping else ExitCode.DONE)


def serve_health(
    settings: Settings, status: WorkerStatus, opened: "RunningTelemetry | None", bound_ms: int
) -> None:
    """Answer on the health port, if the settings name one."""
    if settings.health.port:
        scrape = opened.scrape if opened else None
        health.serve(settings.health.port, status, clock=monotonic_ms, bound_ms=bound_ms, scrape=scrape)


def ends_are_committed(input_ends: InputEnds | None, session: Session) -> bool:
    """Return whether this worker stops by itself: the group has committed the ends of the input."""
    return input_ends is not None and input_ends.update(monotonic_ms(), session.quarantined)


def log_the_end(session: Session) -> None:
    """Log that the worker ends by itself, and what stays for a later worker of the group."""
    log.info("the group has committed everything before the ends that the input had at the start")
    if windows := sum(map(count_windows, session.states.values())):
        log.warning(
            "%d windows of coalesced alerts are still open: the next worker of the group publishes their summaries",
            windows,
        )


def drain(loop: Loop, session: Session, progress: "ProgressLog", until_ms: int) -> None:
    """Publish what the device has begun, leave the group, and log the totals."""
    drained = loop.drain(until_ms)
    summary = progress.summary()  # a closed session has no status
    session.close()
    log.info("%s: %s", "drained" if drained else "not drained in time; nothing is lost", summary)


def open_drift(
    loaded: LoadedSettings, reference: "DriftReference | None", model: ScoringModel
) -> "ScoreDrift | None":
    """Return what compares committed scores with the reference; None without a reference or without metrics.

    Raises:
        ConfigurationError: The reference was made with another model, or with other settings of the text.
    """
    drift = score_drift(reference, loaded.settings, model)
    if drift is not None and not (loaded.exporters.otlp_metrics or loaded.exporters.prometheus):
        log.warning("WORKER_DRIFT__REFERENCE has no effect: OTEL_METRICS_EXPORTER names no exporter of metrics")
        return None
    return drift


def update_status(
    status: WorkerStatus,
    model: ScoringModel,
    session: Session,
    loop: Loop,
    policy: PolicyHolder,
    *,
    drift: "ScoreDrift | None",
    telemetry: "Telemetry | None",
) -> None:
    """Record that the loop has finished a turn; once a second also take a snapshot of its state."""
    now_ms = monotonic_ms()
    if now_ms // SNAPSHOT_MS != status.last_iteration_ms // SNAPSHOT_MS:
        status.snapshot = StatusSnapshot(
            model=model.identity,
            policy=policy.status,
            session=session.status(),
            in_flight=loop.records_in_memory,
            cache_hits=loop.cache.hits,
            cache_misses=loop.cache.misses,
            skipped=loop.totals.skipped,
            truncated=loop.totals.truncated,
            counted=loop.totals.counted,
            windows=sum(map(count_windows, session.states.values())),
            keys_without_room=loop.totals.keys_without_room,
            drift={} if drift is None else drift.indexes,
            top_share=None if telemetry is None else telemetry.top_share,
            usage=model.usage,
        )
    status.last_iteration_ms = now_ms


def tune_garbage_collector() -> None:
    """Make Python's cyclic garbage collector skip the model's library, and run it less often.

    Records in memory look like a growing heap. The collector walked through all objects of the model's library for
    every few thousand records. Each walk took 0.1 s: together more time than everything else. Reference counts free
    the records.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_IN_MEMORY, *gc.get_threshold()[1:])


def start_up_lines(settings: Settings, model: ScoringModel) -> list[str]:
    """Return a line about what runs, and a line for each fall-back."""
    identity, kafka = model.identity, settings.kafka
    what = (
        f"moderation-worker {VERSION}: model {identity.name} (revision {identity.revision}, "
        f"digest {identity.digest}) on {identity.device}, {identity.dtype}, attention {identity.attention}, "
        f"tokenizer {identity.tokenizer}, {identity.threads} threads, batches of {model.batch_tokens_max} tokens; "
        f"{', '.join(kafka.input_topics)} -> {kafka.verdict_topic}, {kafka.alert_topic}, {kafka.dead_letter_topic} "
        f"as {kafka.group_id} / {kafka.transactional_id}; Python {platform.python_version()}, process {os.getpid()}"
    )
    return [what, *model.fallbacks]


@dataclass(slots=True)
class ProgressLog:
    """Logs every ten seconds what the loop has done."""

    session: Session
    loop: Loop
    _logged_ms: int | None = None
    _logged_records: int = 0
    _said_idle: bool = False

    def log_if_due(self, now_ms: int) -> None:
        """Log the committed messages every ten seconds; log once that this worker has no partitions."""
        if self._logged_ms is None:
            self._logged_ms = now_ms
        took_ms = now_ms - self._logged_ms
        if took_ms < PROGRESS_MS:
            return
        records = self.loop.totals.records - self._logged_records
        self._logged_ms, self._logged_records = now_ms, self.loop.totals.records
        session = self.session.status()
        if records:
            is_known = session.backlog.keys() == set(session.assigned).difference(session.quarantined)
            backlog = sum(session.backlog.values()) if is_known else "not known"
            rate = f"{records * 1000 // took_ms} messages/s, backlog {backlog}"
            log.info("%s; %s", self.summary(), rate)
        elif not session.assigned and session.is_member and not self._said_idle:
            self._said_idle = True
            log.info(
                "no partitions assigned: the group has more workers than partitions; this worker waits for some"
            )

    def summary(self) -> str:
        """Return the totals since the start. Call this before the session is closed."""
        tally, cache, events = self.loop.totals, self.loop.cache, self.session.status().events
        counts = "".join(f", {event} {count}" for event, count in sorted(events.items()))
        known = f"{cache.hits} of {cache.hits + cache.misses} texts known"
        total = f"{tally.records} messages in {tally.transactions} transactions"
        skipped = f", {tally.skipped} skipped" if tally.skipped else ""
        skipped += f", {tally.counted} counted instead of alerting" if tally.counted else ""
        return f"{total}{skipped}, {known}, {tally.rewinds} rewinds{counts}"
