"""The process that runs the worker: from the settings to its end."""

import gc
import logging
import os
import platform
from dataclasses import dataclass

from worker import health
from worker.errors import ExitCode, FatalError
from worker.kafka.session import Session
from worker.loop import Loop
from worker.settings import LoadedSettings, Settings
from worker.status import Phase, StatusSnapshot, WorkerStatus
from worker.watchdog import Watchdog, end
from worker.wiring import (
    VERSION,
    OpenModel,
    ScoringModel,
    monotonic_ms,
    open_loop,
    session_options,
    start_telemetry,
)

log = logging.getLogger(__name__)

PROGRESS_MS = 10_000
SNAPSHOT_MS = 1_000
CLOSE_MS_MAX = 3_000
OBJECTS_IN_MEMORY = 100_000  # more than the records in memory are made of
# How long a turn of the loop may take, for /livez and for the watchdog. A transaction's call that hangs ends the
# process some seconds before.
LIVE_MS_MAX, LIVE_BEYOND_TRANSACTION_MS = 30_000, 15_000


def run(loaded: LoadedSettings, watchdog: Watchdog, open_model: OpenModel) -> None:
    """The worker, until a signal drains it; ends the process.

    Raises:
        FatalError: The process must end; nothing is committed that should not be.
    """
    settings, status = loaded.settings, WorkerStatus()
    opened = start_telemetry(settings, loaded.exporters, lambda: status.snapshot)
    bound_ms = max(LIVE_MS_MAX, settings.kafka.transaction_timeout_ms + LIVE_BEYOND_TRANSACTION_MS)
    if settings.health.port:
        scrape = opened.scrape if opened else None
        health.serve(settings.health.port, status, clock=monotonic_ms, bound_ms=bound_ms, scrape=scrape)
    model = open_model(settings, log.info)
    telemetry = opened.telemetry if opened else None
    watch = telemetry.watch(watchdog.watch) if telemetry else watchdog.watch
    session = Session(session_options(settings), clock=monotonic_ms, watch=watch)
    loop = open_loop(settings, model, session, telemetry, watchdog.guard)
    for line in start_up_lines(settings, model):
        log.info("%s", line)
    watchdog.begun(settings.kafka.transaction_timeout_ms, settings.shutdown.grace_ms_max, bound_ms)
    spare_the_collector()
    try:
        session.subscribe()
        progress = Progress(session, loop)
        update_status(status, model, session, loop)
        status.phase = Phase.RUNNING
        hangups = 0
        while not watchdog.stopping:
            if watchdog.hangups > hangups:
                hangups = watchdog.hangups
                session.release_quarantined()
            with watchdog.turn():
                loop.turn()
            update_status(status, model, session, loop)
            progress.tell(status.last_iteration_ms)
    except FatalError as stop:
        # Leaving the group lets the others go on at once; it must not keep this process alive.
        watchdog.end_after(CLOSE_MS_MAX, stop.exit_code)
        log.critical("%s", stop)
        session.close()
        if opened:
            opened.close()
        end(stop.exit_code)
    status.phase = Phase.STOPPING
    drained = loop.drain(monotonic_ms() + watchdog.grace_left_ms)
    session.close()
    log.info("%s: %s", "drained" if drained else "not drained in time; nothing is lost", progress.summary())
    if opened:
        opened.close()
    end(ExitCode.DONE)


def update_status(status: WorkerStatus, model: ScoringModel, session: Session, loop: Loop) -> None:
    """The loop has gone round; once a second it says how it is."""
    now_ms = monotonic_ms()
    if now_ms // SNAPSHOT_MS != status.last_iteration_ms // SNAPSHOT_MS:
        status.snapshot = StatusSnapshot(
            model=model.identity,
            is_member=session.is_member,
            partitions=len(session.assigned),
            quarantined=tuple(session.quarantined),
            in_flight=loop.records_in_memory,
            backlog=session.backlog(),
            blocked_s=session.blocked_s(),
            events={event.value: count for event, count in session.events.items()},
            rebalances=dict(session.rebalances),
            throttled_s=session.throttled_s,
            cache_hits=loop.cache.hits,
            cache_misses=loop.cache.misses,
            usage=model.usage,
        )
    status.last_iteration_ms = now_ms


def spare_the_collector() -> None:
    """Keeps the cyclic garbage collector from what is no garbage.

    Records in memory look like a heap that grows, and for every few thousand of them it walked through all of the
    model's library, for 0.1 s: more time than all else together. What travels is freed by its reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_IN_MEMORY, *gc.get_threshold()[1:])


def start_up_lines(settings: Settings, model: ScoringModel) -> list[str]:
    """What runs, and every fall-back that was taken."""
    identity, kafka = model.identity, settings.kafka
    what = (
        f"moderation-worker {VERSION}: model {identity.name} (revision {identity.revision}, "
        f"digest {identity.digest}) on {identity.device}, {identity.dtype}, attention {identity.attention}, "
        f"{identity.threads} threads, batches of {model.batch_tokens_max} tokens; {', '.join(kafka.input_topics)} "
        f"-> {kafka.verdict_topic}, {kafka.alert_topic}, {kafka.dead_letter_topic} as {kafka.group_id} / "
        f"{kafka.transactional_id}; Python {platform.python_version()}, process {os.getpid()}"
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
        records = self.loop.totals.records - self._told_records
        self._told_ms, self._told_records = now_ms, self.loop.totals.records
        if records:
            behind = self.session.backlog()
            is_known = behind.keys() == set(self.session.assigned).difference(self.session.quarantined)
            backlog = sum(behind.values()) if is_known else "not known"
            rate = f"{records * 1000 // took_ms} messages/s, backlog {backlog}"
            log.info("%s; %s", self.summary(), rate)
        elif not self.session.assigned and self.session.is_member and not self._waited:
            self._waited = True
            log.info("no partitions: the group has more workers than partitions; ready to help")

    def summary(self) -> str:
        """In all."""
        tally, cache, events = self.loop.totals, self.loop.cache, self.session.events
        told = "".join(f", {event.value} {count}" for event, count in sorted(events.items(), key=str))
        known = f"{cache.hits} of {cache.hits + cache.misses} texts known"
        return (
            f"{tally.records} messages in {tally.transactions} transactions, {known}, {tally.rewinds} rewinds{told}"
        )
