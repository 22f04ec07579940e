"""What the owner's thread can't do while it is inside a C call: hear signals, and end a call that hangs.

Source of the need: librdkafka's ``send_offsets_to_transaction`` can hang for ever whatever its time-out (issues
5456 and 5511), while the consumer's heartbeats go on, so that nobody takes the partitions over.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.errors import ExitCode

log = logging.getLogger(__name__)

_TICK_S = 0.25
# A transaction call gets slices of a second, but one that its broker's end surprises may return only with the
# broker (measured: after 2 to 15 s), or after its transaction's time-out, and is no hang.
_OVERSTAY_MS = 18_000
_TO_SPARE_MS = 3_000
_OVERSTAY_STOPPING_MS = 4_000  # someone waits for our end: the slice of a second, and three to spare


class Watchdog:
    """A thread that waits for signals, and watches the owner's transaction calls.

    The first SIGTERM or SIGINT asks the worker to drain, the second ends the process at once, also inside a C
    call and as PID 1: Python's own handlers run between two instructions of the main thread, which may not come.

    Time is counted in ticks of a thread, not by the clock: a process that was stopped (SIGSTOP, a suspended
    machine) must not take the time it slept for a hang.

    Args:
        overstay_ms: After this long a call is taken for one that never returns.
    """

    def __init__(self, *, overstay_ms: int = _OVERSTAY_MS) -> None:
        self._overstay_ms = overstay_ms
        self._stopping = threading.Event()
        self._call: str | None = None
        self._ticks = 0
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._begun = False
        self._grace_ms = 0
        self._grace_ticks: int | None = None
        self._grace_code = ExitCode.DONE

    @property
    def stopping(self) -> bool:
        """Whether a signal has come."""
        return self._stopping.is_set()

    @property
    def grace_left_ms(self) -> int:
        """How long the process has to end by itself; 0: it was not asked to."""
        return int((self._grace_ticks or 0) * _TICK_S * 1000)

    def start(self) -> None:
        """Takes the signals over, from the main thread; before anything slow is imported."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # the byte in the pipe is what counts
        threading.Thread(target=self._watch_signals, name="signals", daemon=True).start()
        threading.Thread(target=self._watch_calls, name="watchdog", daemon=True).start()

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        """Ends the process, with Kafka's exit code, if the block never returns."""
        self._ticks = 0
        self._call = call
        try:
            yield
        finally:
            self._call = None

    def begun(self, transaction_timeout_ms: int, grace_ms: int) -> None:
        """From now on there is something to drain, and calls may take as long as a transaction may.

        Before, a signal ends the process at once. Now it has so long from the signal: also when that comes in a
        transaction that takes its time, for the orchestrator counts from the signal as well.
        """
        self._overstay_ms = max(self._overstay_ms, transaction_timeout_ms + _TO_SPARE_MS)
        self._grace_ms = grace_ms
        self._begun = True

    def end_after(self, grace_ms: int, code: ExitCode) -> None:
        """From now on the process has so long to end by itself."""
        self._grace_code = code
        self._grace_ticks = int(grace_ms / 1000 / _TICK_S) + 1

    def _watch_signals(self) -> None:
        while True:
            for _ in os.read(self._reader, 1):
                if self._stopping.is_set():
                    end(ExitCode.OTHER)
                if not self._begun:
                    end(ExitCode.DONE)
                log.info("asked to stop: finishing what is on the device; a second signal ends at once")
                self.end_after(self._grace_ms, ExitCode.DONE)
                self._stopping.set()

    def _watch_calls(self) -> None:
        pause = threading.Event()
        while not pause.wait(_TICK_S):
            call = self._call
            self._ticks += 1
            overstay_ms = min(self._overstay_ms, _OVERSTAY_STOPPING_MS) if self.stopping else self._overstay_ms
            if call is not None and self._ticks * _TICK_S * 1000 >= overstay_ms:
                log.critical(
                    "%s does not return (librdkafka issues 5456, 5511): the process ends, nothing is lost, and "
                    "its restart settles the transaction",
                    call,
                )
                end(ExitCode.KAFKA)
            if self._grace_ticks is not None:
                self._grace_ticks -= 1
                if self._grace_ticks <= 0:
                    log.warning("the time to stop is over; what is not committed is judged by the next owner")
                    end(self._grace_code)


def end(code: ExitCode) -> None:
    """Ends the process now, whatever its threads are in."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
