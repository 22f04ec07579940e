"""Wrappers that measure the worker's parts: the session, two executors and the watch.

Each wrapper passes everything on unchanged. Without telemetry the parts are not wrapped.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from worker.batching import BatchBounds
from worker.loop import TransactionalSession
from worker.records import NO_STATES, ConsumedRecord, MessagePosition, OutputRecord, Partition, PreparedRecord
from worker.telemetry.key_share import KeyShare
from worker.telemetry.metrics import OPERATIONS, Instruments
from worker.telemetry.tracing import PendingSpan, Tracing, failed

Watch = Callable[[str], AbstractContextManager[None]]


class Telemetry:
    """Wraps the worker's parts.

    Args:
        meters: The instruments of the metrics.
        tracing: Makes the spans; None: traces are off.
    """

    def __init__(self, meters: Instruments, tracing: Tracing | None) -> None:
        self._meters = meters
        self._tracing = tracing
        self._key_share = KeyShare()
        self._error = ""  # of the last call to Kafka that failed

    @property
    def top_share(self) -> float | None:
        """The greatest share of the tokens to score that one key has now, in [0, 1]; None: too few tokens."""
        return self._key_share.greatest(time.monotonic_ns())

    def watch(self, watch: Watch) -> Watch:
        """Return a watch that also measures each call of a transaction."""

        @contextmanager
        def watched(call: str) -> Iterator[None]:
            operation, kind = OPERATIONS.get(call, (None, None))
            if operation is None:
                with watch(call):
                    yield
                return
            began_ns, error = time.monotonic_ns(), ""
            with self._tracing.call(operation, kind) if self._tracing else nullcontext() as span:
                try:
                    with watch(call):
                        yield
                except Exception as failure:  # raised again below: only its name is recorded
                    error = self._error = error_type(failure)
                    if span is not None:
                        failed(span, error)
                    raise
                finally:
                    self._meters.called(operation, kind, time.monotonic_ns() - began_ns, error)

        return watched

    def session(self, session: TransactionalSession) -> TransactionalSession:
        """Return a session that also measures polls and transactions."""
        return _Session(session, self)

    def preparer(self, executor: Executor) -> Executor:
        """Return an executor that also measures the preparer."""

        def report(chunk: Sequence[ConsumedRecord], began_ns: int, ended_ns: int) -> None:
            self._meters.prepared(ended_ns - began_ns)
            if self._tracing:
                self._tracing.add_pending(
                    PendingSpan("prepare", chunk[0].polled_ns, began_ns, ended_ns, len(chunk), None)
                )

        return _Executor(executor, report)

    def device(self, executor: Executor, bounds: BatchBounds) -> Executor:
        """Return an executor that also measures the device."""

        def report(batch: Sequence[PreparedRecord], began_ns: int, ended_ns: int) -> None:
            tokens_each, first_ns = [record.tokens_to_score for record in batch], batch[0].source.polled_ns
            self._key_share.add([record.source.key for record in batch], tokens_each, ended_ns)
            tokens = sum(tokens_each)
            fill = max(len(batch) / bounds.records_max, tokens / bounds.tokens_max)
            self._meters.scored(len(batch), tokens, fill, began_ns - first_ns, ended_ns - began_ns)
            if self._tracing:
                self._tracing.add_pending(PendingSpan("score", first_ns, began_ns, ended_ns, len(batch), tokens))

        return _Executor(executor, report)

    def polled(self, fetched: Sequence[ConsumedRecord], began_ns: int) -> None:
        """Write the time of the poll into each record, and count the records."""
        now_ns = time.monotonic_ns()
        for one in fetched:
            one.polled_ns = now_ns
        self._meters.polled(fetched, now_ns - began_ns)

    def publish(
        self,
        session: TransactionalSession,
        records: Sequence[ConsumedRecord],
        outputs: Sequence[OutputRecord],
        states: Mapping[Partition, str],
    ) -> bool:
        """Publish, and record the outcome."""
        if not records and not outputs:
            return session.publish(records, outputs, states)
        self._error = ""
        began_ns = records[0].polled_ns if records else time.monotonic_ns()
        with self._tracing.transaction(records) if self._tracing and records else nullcontext() as span:
            committed = session.publish(records, outputs, states)
            error = "" if committed else self._error or "refused"
            if error and span is not None:
                failed(span, error)
        took_ns = time.monotonic_ns() - began_ns
        if committed:
            self._meters.committed(records, outputs, time.time_ns() // 1_000_000, took_ns)
        else:
            self._meters.aborted(outputs, took_ns, error)
        return committed


def error_type(failure: Exception) -> str:
    """Return a name from a small set: librdkafka's name of the error, or the exception's class."""
    name = getattr(failure.args[0] if failure.args else None, "name", None)
    return str(name()) if callable(name) else type(failure).__qualname__


class _Session:
    """A ``TransactionalSession`` that measures another one."""

    def __init__(self, session: TransactionalSession, telemetry: Telemetry) -> None:
        self._session = session
        self._telemetry = telemetry
        # Not wrapped: the loop calls ``owns`` several times for each record.
        self.owns = session.owns
        self.is_idle = session.is_idle
        self.ready = session.ready
        self.rewind = session.rewind
        self.quarantine = session.quarantine
        self.pause = session.pause
        self.resume = session.resume

    @property
    def invalidations(self) -> int:
        return self._session.invalidations

    @property
    def rejected(self) -> Mapping[MessagePosition, str]:
        return self._session.rejected

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        return self._session.exempt_below

    @property
    def states(self) -> Mapping[Partition, str]:
        return self._session.states

    @property
    def state_characters_max(self) -> int:
        return self._session.state_characters_max

    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[ConsumedRecord]:
        began_ns = time.monotonic_ns()
        fetched = self._session.poll(records_max=records_max, wait_ms=wait_ms)
        if fetched:
            self._telemetry.polled(fetched, began_ns)
        return fetched

    def publish(
        self,
        records: Sequence[ConsumedRecord],
        outputs: Sequence[OutputRecord],
        states: Mapping[Partition, str] = NO_STATES,
    ) -> bool:
        return self._telemetry.publish(self._session, records, outputs, states)


class _Executor(Executor):
    """Runs work in another executor, and reports its duration."""

    def __init__(self, executor: Executor, report: Callable[[Any, int, int], None]) -> None:
        self._executor = executor
        self._report = report

    def submit(self, work: Callable[..., Any], /, *items: Any, **_: Any) -> Future[Any]:
        return self._executor.submit(self._timed, work, *items)

    def _timed(self, work: Callable[[Any], Any], items: Any) -> Any:
        began_ns = time.monotonic_ns()
        made = work(items)
        self._report(items, began_ns, time.monotonic_ns())
        return made
