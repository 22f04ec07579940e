"""A thread for calls that block, which never holds up the end of the process."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Background:
    """Makes one call after another; the answers are futures.

    Not a ``ThreadPoolExecutor``: the interpreter waits for the threads of that one before it ends.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def submit(self, call: Callable[[], Answer]) -> "Future[Answer]":
        """Makes the call after those before it."""
        if not self._thread.is_alive():
            self._thread.start()
        answer: Future[Answer] = Future()
        self._calls.put((answer, call))
        return answer

    def close(self, seconds_max: float) -> bool:
        """Ends the thread after the calls so far.

        Returns:
            Whether it has ended within this time.
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
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
                answer.set_exception(error)
