"""The watchdog in a process of its own, since it ends that process."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

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
BEGUN = PROCESS.replace(
    "with ", "watchdog.arm(transaction_timeout_ms=60_000, grace_ms=100, turn_ms_max=60_000)\nwith "
)


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
    assert "the grace period is over" in log


# The three threads of a worker. Of these, the thread that is named hangs, with a text that is a secret.
THREADS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from worker.errors import ExitCode
from worker.stage import Stage, WatchedExecutor
from worker.watchdog import Watchdog

def hang(secret):
    print("called", flush=True)
    threading.Event().wait()

watchdog = Watchdog()
watchdog.start()
watchdog.arm(transaction_timeout_ms=60_000, grace_ms=60_000, turn_ms_max=OWNER)
device = watchdog.guard("device", 1000, ExitCode.MODEL)
preparer = watchdog.guard("preparer", 1000, ExitCode.OTHER)
stage = Stage(WORK, WatchedExecutor(ThreadPoolExecutor(1, "NAME"), lambda: NAME("some work")))
for _ in range(100):
    with watchdog.turn():
        stage.submit(["sesame"], stamp=7)
        stage.pending[0].result()
        assert list(stage.finished()) == [(["sesame"], 7)]
"""
# A turn that takes three seconds in all, in calls of a second each, under a bound of a second and a half.
TURNS = """
import sys, threading
from worker.watchdog import Watchdog

watchdog = Watchdog()
watchdog.start()
watchdog.arm(transaction_timeout_ms=60_000, grace_ms=60_000, turn_ms_max=1500)
print("called", flush=True)
pause = threading.Event()
with watchdog.turn():
    for _ in range(3):
        with watchdog.watch("commit_transaction"):
            pause.wait(1)  # what is tested: the turn takes longer than its bound
print("returned")
"""


def hanging(name: str, *, work: str = "hang", owner_ms: int = 60_000) -> subprocess.Popen[str]:
    code = THREADS.replace("NAME", name).replace("WORK", work).replace("OWNER", str(owner_ms))
    return watched_call(code)


@pytest.mark.parametrize(("name", "code"), [("preparer", ExitCode.OTHER), ("device", ExitCode.MODEL)])
def test_a_thread_that_hangs_ends_the_process_and_the_log_has_every_stack(name: str, code: ExitCode) -> None:
    process = hanging(name)
    assert process.wait(30) == code
    _, log = process.communicate()
    assert f"the {name} thread has been in some work for 1000 ms and hangs" in log
    assert f"the process ends with exit code {code}" in log
    for thread in (f"thread {name}_0:", "thread MainThread:", "thread signals:", "thread watchdog:"):
        assert thread in log
    stack = log.partition(f"thread {name}_0:")[2].partition("thread ")[0]
    assert " hang\n" in stack
    assert "sesame" not in log  # files, lines and functions, and no value


def test_an_owner_whose_turn_never_ends_ends_the_process() -> None:
    process = hanging("device", work="hang", owner_ms=500)
    assert process.wait(30) == ExitCode.OTHER
    _, log = process.communicate()
    assert "the owner thread has been in a turn of the loop for 500 ms and hangs" in log
    assert " <module>\n" in log


def test_a_turn_may_take_as_long_as_the_calls_in_it() -> None:
    process = watched_call(TURNS)
    out, log = process.communicate(timeout=30)
    assert (out, process.returncode) == ("returned\n", ExitCode.DONE), log


def test_time_that_the_process_was_stopped_is_not_the_devices() -> None:
    process = hanging("device", work="lambda items: print('called', flush=True) or sys.stdin.readline() and items")
    process.send_signal(signal.SIGSTOP)
    time.sleep(ASLEEP_S)  # this is what is tested: three times as long as a batch may take
    process.send_signal(signal.SIGCONT)
    _, log = process.communicate("\n" * 100, timeout=30)
    assert process.returncode == ExitCode.DONE, log


def test_a_log_that_takes_nothing_does_not_keep_the_process() -> None:
    code = PROCESS.replace("import sys\n", "import sys, logging\nlogging.basicConfig()\n")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=writer
    )
    try:
        assert process.wait(30) == ExitCode.KAFKA
    finally:
        process.communicate()
        os.close(reader)
        os.close(writer)
