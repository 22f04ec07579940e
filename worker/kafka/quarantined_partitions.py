"""Put partitions into quarantine, release them after samples of their logs, and log both."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from worker.kafka.quarantine import Quarantine, error_if_all_quarantined
from worker.kafka.tail_sampler import TailSampler
from worker.records import DeadLetterExcess, Partition

log = logging.getLogger(__name__)


class QuarantinedPartitions:
    """The partitions that this worker owns and does not read.

    Args:
        sampler: Reads the last records of a partition.
        clock: Returns milliseconds.
    """

    def __init__(self, sampler: TailSampler, *, clock: Callable[[], int]) -> None:
        self._sampler = sampler
        self._clock = clock
        self._quarantine = Quarantine()

    @property
    def partitions(self) -> Collection[Partition]:
        """The partitions in quarantine."""
        return self._quarantine.partitions.keys()

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        """By released partition, the offset below which dead letters do not count."""
        return self._quarantine.exempt_below

    def add(
        self,
        excesses: Sequence[DeadLetterExcess],
        *,
        assigned: Collection[Partition],
        input_partitions: Callable[[], int | None],
    ) -> None:
        """Put the partition of each excess into quarantine.

        Args:
            excesses: At most one for each partition.
            assigned: All partitions of this worker.
            input_partitions: Returns the number of all partitions of the input topics. Called only if the number
                matters.

        Raises:
            FatalError: All partitions of this worker are in quarantine. The last batch is not committed.
        """
        for excess in excesses:
            wait_ms = self._quarantine.add(self._clock(), excess)
            log.critical(
                "%s goes into quarantine: %s. The worker stops reading %s and goes on with its other partitions. "
                "Repair the producer or the model of these records. The worker samples the end of the log in %d s. "
                "Send SIGHUP to this process to release the partition in any case",
                excess.partition,
                excess,
                excess.partition,
                wait_ms // 1000,
            )
        quarantined = len(self._quarantine.partitions)
        error = error_if_all_quarantined(excesses[-1], quarantined, len(assigned), input_partitions)
        if error is not None:
            raise error

    def release_due(self) -> list[Partition]:
        """Return the partitions that new samples release, and ask for the samples that are due. Never wait."""
        now_ms = self._clock()
        released = []
        for partition, sample in self._sampler.answers().items():
            if self._quarantine.take_sample(now_ms, partition, sample):
                released.append(partition)
                _log_release(partition, self.exempt_below.get(partition))
        for partition in self._quarantine.due(now_ms):
            self._sampler.ask(partition)
        return released

    def release_all(self) -> None:
        """Release each partition as soon as the end of its log is known: an operator asked for the release."""
        self._quarantine.release_all(self._clock())

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that this worker no longer owns."""
        self._quarantine.forget(partitions)

    def close(self) -> None:
        """End the thread that reads samples. Wait at most one second for it."""
        self._sampler.close()


def _log_release(partition: Partition, exempt_below: int | None) -> None:
    if exempt_below is None:
        log.warning("%s: released from quarantine to test whether its records still break the model", partition)
    else:
        log.warning(
            "%s: released from quarantine. Its dead letters below offset %d do not count towards the bound",
            partition,
            exempt_below,
        )
