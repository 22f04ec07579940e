"""Repeats something while a test goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(step: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Repeat a step on a thread of its own, with a pause before each time, while the block lasts."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every_s):
            step()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
