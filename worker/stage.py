"""A thread of its own, with one item in work and one waiting: the hand-offs between owner, preparer, device.

An ``Executor`` of one thread does it; the tests hand in one that runs when they say so.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

_DEPTH = 2  # in work, and waiting: a deeper queue adds delay and no throughput


class Stage(Generic[Given, Made]):
    """Lists in, lists of the same length out, in order."""

    def __init__(self, work: Callable[[Sequence[Given]], list[Made]], executor: Executor) -> None:
        self._work = work
        self._executor = executor
        self._pending: deque[Future[list[Made]]] = deque()
        self._given: deque[Sequence[Given]] = deque()

    @property
    def pending(self) -> Sequence[Future[list[Made]]]:
        """What is in work or waiting."""
        return self._pending

    @property
    def has_room(self) -> bool:
        """Whether the waiting slot is free."""
        return len(self._pending) < _DEPTH

    def give(self, items: Sequence[Given]) -> None:
        """Fills the free slot."""
        assert self.has_room  # noqa: S101 - a bug of ours
        self._given.append(items)
        self._pending.append(self._executor.submit(self._work, items))

    def finished(self) -> Iterator[list[Made]]:
        """What is done, oldest first; an error of the work is raised here."""
        while self._pending and self._pending[0].done():
            self._given.popleft()
            yield self._pending.popleft().result()

    def take_back(self) -> Sequence[Given]:
        """Empties the waiting slot, unless what is in it has been begun; gives what was in it."""
        if not self._pending or not self._pending[-1].cancel():
            return ()
        self._pending.pop()
        return self._given.pop()


class WatchedExecutor(Executor):
    """Runs what it is given in another one, under a watch.

    Args:
        executor: Runs it.
        watch: Gives a new watch for each call.
    """

    def __init__(self, executor: Executor, watch: Callable[[], AbstractContextManager[None]]) -> None:
        self._executor = executor
        self._watch = watch

    def submit(self, work: Callable[..., Any], /, *items: Any, **_: Any) -> Future[Any]:
        """Run it when the thread is free."""
        return self._executor.submit(self._watched, work, *items)

    def _watched(self, work: Callable[..., Any], *items: Any) -> Any:
        with self._watch():
            return work(*items)


def rest(pending: Sequence[Future[Any]], wait_ms: int) -> None:
    """Waits until something is finished, at most so long."""
    wait(pending, timeout=wait_ms / 1000, return_when=FIRST_COMPLETED)
