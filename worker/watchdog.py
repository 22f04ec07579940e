"""Hear signals, and end a process of which a thread hangs.

The owner's thread hears no signal while it is inside a C call, and no thread can end a call of its own that hangs.

Sources of the need: librdkafka's ``send_offsets_to_transaction`` can hang for ever whatever its time-out (issues
5456 and 5511), while the consumer's heartbeats go on, so that nobody takes the partitions over. A call of the
device can hang when its driver fails: the owner polls on, so that neither the group nor ``/livez`` sees a fault.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from worker.errors import ExitCode
from worker.thread_stacks import thread_stacks

log = logging.getLogger(__name__)

_TICK_S = 0.25
# A transaction call gets slices of a second, but one that its broker's end surprises may return only with the
# broker (measured: after 2 to 15 s), or after its transaction's time-out, and is no hang.
_OVERSTAY_MS = 18_000
_TO_SPARE_MS = 3_000
_OVERSTAY_STOPPING_MS = 4_000  # someone waits for our end: the slice of a second, and three to spare
_LOG_MS_MAX = 5_000
"""How long the last lines may take: what hangs may be the log itself."""

Watch = Callable[[str], AbstractContextManager[None]]
"""Watches what a block does, by its name."""


class _Work:
    """What a watched thread is doing.

    Attributes:
        name: Of the work that goes on; None: none does.
        began: The tick at which it began.
    """

    def __init__(self, ticks: Callable[[], int]) -> None:
        self.name: str | None = None
        self.began = 0
        self._ticks = ticks

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Watch the block."""
        self.began = self._ticks()  # before the name: the watchdog's thread reads the name first
        self.name = name
        try:
            yield
        finally:
            self.name = None

    def lasts_ms(self) -> tuple[str | None, int]:
        """Return the name of what goes on, and for how long it has been going on."""
        name = self.name
        return name, int((self._ticks() - self.began) * _TICK_S * 1000)


class Watchdog:
    """A thread that waits for signals, and one that watches the owner, the preparer and the device.

    The first SIGTERM or SIGINT asks the worker to drain, the second ends the process at once, also inside a C
    call and as PID 1: Python's own handlers run between two instructions of the main thread, which may not come.
    SIGHUP ends nothing, also when a terminal closes: it is counted, and the owner acts on it.

    Time is counted in ticks of a thread, not by the clock: a process that was stopped (SIGSTOP, a suspended
    machine) must not take the time it slept for a hang.

    Args:
        overstay_ms: After this long a call is taken for one that never returns.
    """

    def __init__(self, *, overstay_ms: int = _OVERSTAY_MS) -> None:
        self._overstay_ms = overstay_ms
        self._stopping = threading.Event()
        self._hangups = 0
        self._ticks = 0
        self._call = _Work(lambda: self._ticks)
        self._turn = _Work(lambda: self._ticks)
        self._guarded: list[tuple[_Work, str, int, ExitCode]] = []
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
    def hangups(self) -> int:
        """How many SIGHUPs have come: a person wants the worker to look again at what it has put aside."""
        return self._hangups

    @property
    def grace_left_ms(self) -> int:
        """How long the process has to end by itself; 0: it was not asked to."""
        return int((self._grace_ticks or 0) * _TICK_S * 1000)

    def start(self) -> None:
        """Takes the signals over, from the main thread; before anything slow is imported."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # the byte in the pipe is what counts
        threading.Thread(target=self._watch_signals, name="signals", daemon=True).start()
        threading.Thread(target=self._watch_calls, name="watchdog", daemon=True).start()

    @contextmanager
    def watch(self, call: str) -> Iterator[None]:
        """End the process, with Kafka's exit code, if the block, a call of the owner, never returns."""
        try:
            with self._call(call):
                yield
        finally:
            self._turn.began = self._ticks  # the bound on a turn is for what the owner does outside these calls

    def turn(self) -> AbstractContextManager[None]:
        """End the process if a turn of the owner's loop never ends."""
        return self._turn("a turn of the loop")

    def guard(self, thread: str, overstay_ms: int, code: ExitCode) -> Watch:
        """Return what watches a thread: one block at a time, and each may take this long.

        Args:
            thread: For the log.
            overstay_ms: After this long the block is taken for one that never ends.
            code: The process ends with it.
        """
        work = _Work(lambda: self._ticks)
        self._guarded.append((work, thread, overstay_ms, code))
        return work

    def begun(self, transaction_timeout_ms: int, grace_ms: int, turn_ms_max: int) -> None:
        """From now on there is something to drain, and calls may take as long as a transaction may.

        Before, a signal ends the process at once. Now it has so long from the signal: also when that comes in a
        transaction that takes its time, for the orchestrator counts from the signal as well.
        """
        self._overstay_ms = max(self._overstay_ms, transaction_timeout_ms + _TO_SPARE_MS)
        self._guarded.append((self._turn, "owner", turn_ms_max, ExitCode.OTHER))
        self._grace_ms = grace_ms
        self._begun = True

    def end_after(self, grace_ms: int, code: ExitCode) -> None:
        """From now on the process has so long to end by itself."""
        self._grace_code = code
        self._grace_ticks = int(grace_ms / 1000 / _TICK_S) + 1

    def _watch_signals(self) -> None:
        while True:
            for number in os.read(self._reader, 1):
                if number == signal.SIGHUP:
                    self._hangups += 1
                    continue
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
            self._ticks += 1
            self._look_at_the_call()
            for work, thread, overstay_ms, code in self._guarded:
                name, lasts_ms = work.lasts_ms()
                in_a_call = work is self._turn and self._call.name is not None
                if name is None or lasts_ms < overstay_ms or in_a_call:
                    continue
                why = f"the {thread} thread has been in {name} for {lasts_ms} ms, so it hangs"
                end_with_stacks(f"{why}: nothing is lost, what is not committed is judged after the restart", code)
            if self._grace_ticks is not None:
                self._grace_ticks -= 1
                if self._grace_ticks <= 0:
                    log.warning("the time to stop is over; what is not committed is judged by the next owner")
                    end(self._grace_code)

    def _look_at_the_call(self) -> None:
        call, lasts_ms = self._call.lasts_ms()
        overstay_ms = min(self._overstay_ms, _OVERSTAY_STOPPING_MS) if self.stopping else self._overstay_ms
        if call is not None and lasts_ms >= overstay_ms:
            end_with_stacks(
                f"{call} does not return (librdkafka issues 5456, 5511): nothing is lost, and the restart settles "
                "the transaction",
                ExitCode.KAFKA,
            )


def end_with_stacks(why: str, code: ExitCode) -> None:
    """Log the stack of every thread and why the process ends, and end it."""
    late = threading.Timer(_LOG_MS_MAX / 1000, os._exit, (code,))
    late.daemon = True
    late.start()
    log.critical("the threads of this process:\n%s", thread_stacks(), extra={"multiline": True})
    log.critical("%s; the process ends with exit code %d", why, code)
    end(code)


def end(code: ExitCode) -> None:
    """Ends the process now, whatever its threads are in."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
