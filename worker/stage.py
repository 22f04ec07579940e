"""A stage of the pipeline: a thread with one list of items in work, and others waiting.

The owner hands items to the preparer and to the device through a ``Stage`` each. An ``Executor`` of one thread does
the work. The tests pass an executor that works when the test says so.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_LISTS_MAX = 2  # one in work and one waiting: more small lists would add delay and no throughput
_FULL_LISTS_MAX = 8  # so the thread has work while the owner publishes a transaction of six full lists


class Stage(Generic[Item, Outcome]):
    """Work on lists of items, in order; each list gives a list of the same length.

    Args:
        work: Turns a list of items into a list of outcomes.
        executor: Runs ``work``, one call at a time.
    """

    def __init__(self, work: Callable[[Sequence[Item]], list[Outcome]], executor: Executor) -> None:
        self._work = work
        self._executor = executor
        self._pending: deque[Future[list[Outcome]]] = deque()
        self._submitted: deque[tuple[Sequence[Item], int]] = deque()  # the items and stamp of each pending future

    @property
    def pending(self) -> Sequence[Future[list[Outcome]]]:
        """The futures of the lists that are in work or waiting."""
        return self._pending

    @property
    def items(self) -> int:
        """Number of items of the lists that are in work or waiting."""
        return sum([len(items) for items, _ in self._submitted])

    def has_room(self, *, is_full: bool = False) -> bool:
        """Return whether another list may be submitted.

        Args:
            is_full: Whether the list has as many items as a list may have. It can wait here as well as with the
                owner. A smaller list waits with the owner, because it grows there.
        """
        return len(self._pending) < (_FULL_LISTS_MAX if is_full else _LISTS_MAX)

    def submit(self, items: Sequence[Item], stamp: int) -> None:
        """Submit a list. Call this only if ``has_room``.

        Args:
            items: The items.
            stamp: A number that comes back with the list.
        """
        assert self.has_room(is_full=True)  # noqa: S101 - a bug of ours
        self._submitted.append((items, stamp))
        self._pending.append(self._executor.submit(self._work, items))

    def finished(self) -> Iterator[tuple[list[Outcome], int]]:
        """Remove and return what is done, with its stamp, the oldest first; raise what the work raised."""
        while self._pending and self._pending[0].done():
            _, stamp = self._submitted.popleft()
            yield self._pending.popleft().result(), stamp

    def take_back(self) -> tuple[Sequence[Item], int] | None:
        """Cancel the newest list, and return its items and stamp; return None if the work on it has begun."""
        if not self._pending or not self._pending[-1].cancel():
            return None
        self._pending.pop()
        return self._submitted.pop()


class WatchedExecutor(Executor):
    """Run each call in another executor, under a watch.

    Args:
        executor: Runs the calls.
        watch: Returns a new watch for each call.
    """

    def __init__(self, executor: Executor, watch: Callable[[], AbstractContextManager[None]]) -> None:
        self._executor = executor
        self._watch = watch

    def submit(self, work: Callable[..., Any], /, *items: Any, **_: Any) -> Future[Any]:
        """Run the call when the thread is free."""
        return self._executor.submit(self._watched, work, *items)

    def _watched(self, work: Callable[..., Any], *items: Any) -> Any:
        with self._watch():
            return work(*items)


def wait_for_any(pending: Sequence[Future[Any]], wait_ms: int) -> None:
    """Wait until one of the futures is done, for ``wait_ms`` at most."""
    wait(pending, timeout=wait_ms / 1000, return_when=FIRST_COMPLETED)
