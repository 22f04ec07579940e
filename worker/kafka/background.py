"""A thread for calls that block, which never holds up the end of the process."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Answer = TypeVar("Answer")

CLOSE_S_MAX = 1.0
"""What waits longer is a call to a broker that does not answer. The end of the process ends it."""


class Background:
    """Makes one call after another; the answers are futures.

    A ``ThreadPoolExecutor`` is not used: before the interpreter ends, it waits for the threads of that.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def submit(self, call: Callable[[], Answer]) -> "Future[Answer]":
        """Make the call after the earlier ones."""
        if not self._thread.is_alive():
            self._thread.start()
        answer: Future[Answer] = Future()
        self._calls.put((answer, call))
        return answer

    def close(self, seconds_max: float = CLOSE_S_MAX) -> bool:
        """End the thread after the calls so far.

        Returns:
            Whether the thread has ended within this time.
        """
        self._calls.put(None)
        if self._thread.is_alive():
            self._thread.join(seconds_max)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            answer, call = item
            try:
                answer.set_result(call())
            except BaseException as error:  # noqa: BLE001 - the future raises it again
                answer.set_exception(error)
