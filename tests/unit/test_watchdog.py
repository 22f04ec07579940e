"""The watchdog in a process of its own, since it ends that process."""

import signal
import subprocess
import sys
import time

from worker.errors import ExitCode

OVERSTAY_MS = 1000
ASLEEP_S = 3

# A transaction call that goes on until a line comes, and the watchdog over it.
PROCESS = f"""
import sys
from worker.watchdog import Watchdog

watchdog = Watchdog(overstay_ms={OVERSTAY_MS})
watchdog.start()
with watchdog.watch("send_offsets_to_transaction"):
    print("called", flush=True)
    sys.stdin.readline()
print("returned")
"""
# The same, of a worker that has begun and may take a tenth of a second to end.
BEGUN = PROCESS.replace("with ", "watchdog.begun(transaction_timeout_ms=60_000, grace_ms=100)\nwith ")


def watched_call(code: str = PROCESS) -> subprocess.Popen[str]:
    """A process that is inside the call."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "called\n"
    return process


def test_a_call_that_never_returns_ends_the_process_and_is_named() -> None:
    process = watched_call()
    assert process.wait(30) == ExitCode.KAFKA
    _, log = process.communicate()
    assert "send_offsets_to_transaction does not return" in log


def test_time_that_the_process_was_stopped_is_not_the_calls() -> None:
    process = watched_call()
    process.send_signal(signal.SIGSTOP)
    time.sleep(ASLEEP_S)  # this is what is tested: three times as long as a call may take
    process.send_signal(signal.SIGCONT)
    out, log = process.communicate("\n", timeout=30)
    assert (out, process.returncode) == ("returned\n", ExitCode.DONE), log


def test_the_time_to_end_begins_with_the_signal_also_inside_a_call() -> None:
    process = watched_call(BEGUN)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == ExitCode.DONE  # a call that is taken for one that hangs ends it as Kafka's
    _, log = process.communicate()
    assert "the time to stop is over" in log
