"""Calls that block, on a thread of their own."""

import subprocess
import sys
import threading

import pytest

from worker.kafka.background import BackgroundThread


def test_calls_are_made_one_after_another_and_return_or_raise() -> None:
    background = BackgroundThread("test")
    made: list[int] = []

    def fails() -> None:
        raise ValueError(len(made))

    first, second, third = (
        background.submit(lambda: made.append(1)),
        background.submit(fails),
        background.submit(made.copy),
    )
    first.result(10)
    with pytest.raises(ValueError, match="1"):
        second.result(10)
    assert third.result(10) == [1]
    assert background.close(10)


def test_a_thread_that_was_never_used_closes_immediately() -> None:
    assert BackgroundThread("test").close(0)


def test_closing_does_not_wait_for_a_call_that_takes_longer() -> None:
    ended, background = threading.Event(), BackgroundThread("test")
    background.submit(ended.wait)
    assert not background.close(0.1)
    ended.set()
    assert background.close(10)


def test_a_call_does_not_delay_the_end_of_the_process() -> None:
    code = (
        "import time; from worker.kafka.background import *; BackgroundThread('').submit(lambda: time.sleep(600))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
