"""Which of the demo's two workers owns which partitions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import AdminClient

if TYPE_CHECKING:
    from concurrent.futures import Future

SLOTS = (1, 2)
QUERY_S_MAX = 1.0


def worker_name(slot: int) -> str:
    """Return the name, and client id, of the worker in a slot."""
    return f"worker-{slot}"


class PartitionOwners:
    """Which worker owns which partitions, as the group's coordinator says.

    Attributes:
        by_worker: The partitions of each worker; None: the worker was killed.
    """

    def __init__(self, client: Mapping[str, Any], group: str) -> None:
        self.by_worker: dict[str, Sequence[int] | None] = {worker_name(slot): () for slot in SLOTS}
        self._admin = AdminClient({"log_level": 0, **client})
        self._group = group
        self._answer: Future[Any] | None = None

    def of(self, slot: int) -> Sequence[int]:
        """Return the partitions of the worker in a slot."""
        return self.by_worker[worker_name(slot)] or ()

    def refresh(self) -> None:
        """Take the answer if it is there, and ask again; never wait."""
        if self._answer is not None and self._answer.done() and self._answer.exception() is None:
            for member in self._answer.result().members:
                if self.by_worker.get(member.client_id) is not None and member.assignment is not None:
                    owned = sorted(at.partition for at in member.assignment.topic_partitions)
                    self.by_worker[member.client_id] = owned
        if self._answer is None or self._answer.done():
            # On a new cluster the first request of this kind may hang until its time-out.
            answers = self._admin.describe_consumer_groups([self._group], request_timeout=QUERY_S_MAX)
            self._answer = answers[self._group]
