"""A thread for calls that block. It never delays the end of the process."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Answer = TypeVar("Answer")

CLOSE_S_MAX = 1.0
"""A call that takes longer waits for a broker that does not answer. It ends with the process."""


class BackgroundThread:
    """Make one call after another on a daemon thread. The answers are futures.

    ``ThreadPoolExecutor`` was rejected: the interpreter waits for its threads before it ends.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def submit(self, call: Callable[[], Answer]) -> "Future[Answer]":
        """Make the call after all earlier calls."""
        if not self._thread.is_alive():
            self._thread.start()
        answer: Future[Answer] = Future()
        self._calls.put((answer, call))
        return answer

    def close(self, seconds_max: float = CLOSE_S_MAX) -> bool:
        """End the thread after all submitted calls.

        Returns:
            Whether the thread has ended within ``seconds_max``.
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
