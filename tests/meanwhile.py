"""Repeat a step in the background of a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(step: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Repeat a step on a thread of its own until the end of the block. Pause before each repetition."""
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
