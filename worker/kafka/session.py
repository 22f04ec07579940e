"""What the loop knows of Kafka: a member of the consumer group and a transactional publisher, as one session.

One thread, the owner, calls all methods: since confluent-kafka 2.16 a call from a second thread blocks until the
``poll`` of the first thread returns. A transaction is one call, ``publish``. No transaction is open during a poll,
so a rebalance never meets one.

A partition gets its position in one way only, in ``_place``: the worker asks what the group has committed, and
assigns the partition with an explicit offset. After an assignment, a rewind, or a position that is out of range,
partitions wait, and ``poll`` places them as soon as the publisher has settled what an earlier producer left.

Rejected: ``seek`` (after librdkafka has found no offset, ``seek`` fails for ever, and it races with records that
are already fetched). Rejected: leaving the reset to librdkafka (``earliest`` skips a lost range without a log line,
``latest`` loses messages at a rewind).

Read next: ``group_member.py`` for rebalances and assignment, ``record_fetcher.py`` for the way from messages to
records, ``partition_monitor.py`` for stalled, blocked and idle partitions.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from worker.kafka.absence_detection import AbsenceDetector
from worker.kafka.client_errors import ClientErrors, Membership
from worker.kafka.commit_metadata import TOO_LARGE
from worker.kafka.consumer_errors import CONSUMER_ERRORS, ErrorAction
from worker.kafka.end_offsets import EndOffsetQuery
from worker.kafka.group_member import GroupMember
from worker.kafka.group_metadata import is_member
from worker.kafka.ownership import OutOfOrder, Ownership
from worker.kafka.partition_monitor import PartitionMonitor
from worker.kafka.publisher import Publisher
from worker.kafka.quarantined_partitions import QuarantinedPartitions
from worker.kafka.record_fetcher import RecordFetcher
from worker.kafka.session_options import SessionOptions
from worker.kafka.stall_detection import StallDetector
from worker.kafka.start_offsets import StartOffsets
from worker.kafka.tail_sampler import TailSampler
from worker.kafka.throttling import Throttling
from worker.kafka.transaction import Event
from worker.records import NO_STATES, ConsumedRecord, DeadLetterExcess, MessagePosition, OutputRecord, Partition
from worker.status import SessionStatus

log = logging.getLogger(__name__)

_PLACE_WAIT_MS = 10  # how long a poll waits for a message while partitions wait for their start offsets
_QUEUED_RECORDS = 100_000  # librdkafka's default for queued.min.messages
_MAX_POLL_INTERVAL_MS = 300_000  # librdkafka's default
_BROKERS_SESSION_TIMEOUT_MS = 45_000  # a broker's default for group.consumer.session.timeout.ms


class Session:
    """The loop's ``TransactionalSession`` on a real Kafka.

    Attributes:
        invalidations: Grows whenever a record in memory may have become stale.
    """

    def __init__(
        self,
        options: SessionOptions,
        *,
        clock: Callable[[], int],
        watch: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self.invalidations = 0
        self._clock = clock
        self._watch = watch
        self._owned = Ownership()
        self._recreated: set[str] = set()  # topics that were deleted and created again
        membership = Membership.of(options.consumer_config, options.input_topics)
        self._client_errors = ClientErrors(membership, options.admin_config)
        configs = {"consumer": options.consumer_config, "producer": options.publisher.config}
        self._throttling = {name: Throttling(name, config, clock) for name, config in configs.items()}
        self._publisher = Publisher(
            options.publisher,
            clock=clock,
            watch=watch,
            on_error=self._client_errors.record,
            on_throttle=self._throttling["producer"].record,
        )
        self._start_offsets = StartOffsets(
            options.admin_config, group_id=options.consumer_config["group.id"], reset=options.offset_reset
        )
        self._quarantined = QuarantinedPartitions(
            TailSampler(options.admin_config, options.is_readable), clock=clock
        )
        self._member = GroupMember(
            options,
            error_cb=self._client_errors.record,
            throttle_cb=self._throttling["consumer"].record,
            on_topic_id=self._on_topic_id,
            on_taken_away=self._on_taken_away,
            quarantined=lambda: self._quarantined.partitions,
        )
        self._absence = AbsenceDetector.of(
            max_poll_interval_ms=int(options.consumer_config.get("max.poll.interval.ms", _MAX_POLL_INTERVAL_MS)),
            session_timeout_ms=membership.session_timeout_ms or _BROKERS_SESSION_TIMEOUT_MS,
        )
        self._fetcher = RecordFetcher(self._owned, self._on_message_error)
        queued_records = int(options.consumer_config.get("queued.min.messages", _QUEUED_RECORDS))
        self._monitor = PartitionMonitor(
            EndOffsetQuery(options.admin_config, interval_ms=options.end_offset_interval_ms),
            StallDetector(options.stall_timeout_ms, queued_records=queued_records),
            blocked_warning_ms=options.blocked_warning_ms,
        )

    # ---- the loop's calls ------------------------------------------------------------------------------------

    def subscribe(self) -> None:
        """Join the group. Call this after the model is loaded, because a member must poll."""
        self._member.subscribe()

    def poll(self, *, records_max: int, wait_ms: int) -> Sequence[ConsumedRecord]:
        """Serve rebalances and errors, and return the records that the consumer has.

        Args:
            records_max: Largest number of records to return.
            wait_ms: How long to wait for the first record.

        Raises:
            KafkaFatalError: Kafka refuses this worker for good.
            DataProtectionError: A partition has no start offset that the settings allow, or does not move.
        """
        self._publisher.serve()
        now_ms, invalidations = self._clock(), self.invalidations
        fetched = self._fetch(records_max, wait_ms)
        self._client_errors.handle(now_ms)
        self._recreated.update(
            self._start_offsets.check_topics(now_ms, self._assigned, lambda: self._owned.progress)
        )
        if self._quarantined.partitions and (released := self._quarantined.release_due()):
            self._member.release(released)
        if self._member.waiting and self._publisher.ready():
            self._place(now_ms)
        if self._recreated:
            self._join_again_after_recreation()
        if self._absence.is_due(now_ms):
            self._join_again_if_absent(now_ms)
        self._monitor.observe_poll(len(fetched), len(self._member.fetched))
        self._act_on_findings(now_ms)
        if self.invalidations == invalidations:  # nothing was taken away since the first record was read
            return fetched
        return [record for record in fetched if self._owned.owns(record)]

    def owns(self, fetched: ConsumedRecord) -> bool:
        """Return whether this worker may still commit the record."""
        return self._owned.owns(fetched)

    def ready(self) -> bool:
        """Return whether ``publish`` may be called. Take a step towards that, of about a second at most."""
        return self._publisher.ready()

    def is_idle(self, partition: Partition) -> bool:
        """Return whether the partition was read to its end, and all of its records are committed."""
        return self._owned.is_idle(partition)

    def publish(
        self,
        records: Sequence[ConsumedRecord],
        outputs: Sequence[OutputRecord],
        states: Mapping[Partition, str] = NO_STATES,
    ) -> bool:
        """Commit the outputs, and the offsets after the records with the partitions' states, in one transaction.

        Call this only when ``ready``.

        Returns:
            Whether the transaction is committed. If not, call ``rewind``.

        Raises:
            KafkaFatalError: The process must end. The transaction is not committed.
        """
        refusal = self._owned.refusal(records, outputs, states)
        offsets = self._owned.offsets_to_commit(records, states) if refusal is None else {}
        committed = self._commit(outputs, offsets, {**self.states, **states}, refusal)
        if committed:
            self._owned.committed(offsets, states)
        return committed

    def rewind(self) -> None:
        """Make every record in memory stale. ``poll`` then reads on from the committed offsets."""
        self._member.waiting.update(self._owned.partitions)
        self._owned.remove(self._member.waiting)
        self._start_offsets.forget(self._member.waiting)
        self.invalidations += 1

    def quarantine(self, excesses: Sequence[DeadLetterExcess]) -> None:
        """Make the records of partitions stale, and stop reading the partitions until they are released.

        The partitions stay assigned: if one were unassigned, the group would give it to another worker.

        Raises:
            FatalError: All partitions of this worker are in quarantine. The last batch is not committed.
        """
        bad, assigned = {excess.partition for excess in excesses}, self._assigned()
        self._owned.remove(bad)
        self.invalidations += 1
        self._member.quarantine(bad)
        self._quarantined.add(excesses, assigned=assigned, input_partitions=self._member.count_input_partitions)

    def pause(self) -> None:
        """Fetch nothing until ``resume``. librdkafka drops what it has fetched ahead."""
        self._member.pause()

    def resume(self) -> None:
        """Fetch again after ``pause``."""
        self._member.resume()

    @property
    def states(self) -> dict[Partition, str]:
        """By partition, the state that was committed with its offset. A partition without a state is missing."""
        return self._owned.states

    @property
    def state_characters_max(self) -> int:
        """Longest state of a partition, in characters."""
        return self._start_offsets.metadata.state_characters

    @property
    def rejected(self) -> Mapping[MessagePosition, str]:
        """The records (partition, offset) whose outputs a broker rejects, with the dead letter's reason."""
        return self._publisher.rejected

    @property
    def exempt_below(self) -> Mapping[Partition, int]:
        """By released partition, the offset below which dead letters do not count."""
        return self._quarantined.exempt_below

    # ---- the process's calls ---------------------------------------------------------------------------------

    def release_quarantined(self) -> None:
        """Release all partitions from quarantine, whatever their logs hold: an operator asked for the release."""
        self._quarantined.release_all()

    def close(self) -> None:
        """Leave the group. A static member of a classic group stays in it until its session times out."""
        self._member.close()
        self._start_offsets.close()
        self._quarantined.close()

    @property
    def quarantined(self) -> Collection[Partition]:
        """The assigned partitions that are not read, because too many of their records would be dead letters."""
        return self._quarantined.partitions

    def status(self) -> SessionStatus:
        """Return what health, metrics and the log tell of the session. Call this before ``close``."""
        now_ms, positioned = self._clock(), self._owned.partitions
        backlog, blocked = self._monitor.backlog(now_ms), self._monitor.blocked(now_ms)
        return SessionStatus(
            is_member=is_member(self._member.metadata),
            assigned=self._assigned(),
            positioned=positioned,
            quarantined=tuple(self.quarantined),
            backlog={at: backlog[at] for at in positioned if at in backlog},
            blocked_s={at: blocked[at].age_ms / 1000 for at in positioned if at in blocked},
            events={event.value: count for event, count in self._publisher.events.items()},
            rebalances=dict(self._member.rebalances),
            throttled_s={name: one.total_s for name, one in self._throttling.items()},
        )

    # ---- the steps of a poll ---------------------------------------------------------------------------------

    def _fetch(self, records_max: int, wait_ms: int) -> list[ConsumedRecord]:
        """Return what the consumer has; after an error, what came before the error."""
        fetched: list[ConsumedRecord] = []
        if self._member.waiting:
            wait_ms = min(wait_ms, _PLACE_WAIT_MS)
        try:
            self._fetcher.fetch(self._member.consumer, records_max, wait_ms, fetched)
        except OutOfOrder as disorder:
            log.warning("%s: everything uncommitted is read again", disorder)
            self.rewind()
        except KafkaException as error:
            self._client_errors.record(error.args[0])
        return fetched

    def _place(self, now_ms: int) -> None:
        """Give waiting partitions the start offsets that have been found. Never wait for one."""
        found = self._start_offsets.find(now_ms, self._member.waiting, self._member.out_of_range)
        for error in found.errors:
            self._client_errors.record(error)
        self._recreated.update(found.recreated)
        starts = found.committed | found.chosen
        if not starts or (found.chosen and not self._commit([], found.chosen, found.states, None)):
            return
        for level, text in found.notes:
            log.log(level, "%s", text)
        positions = {partition: at.position for partition, at in self._owned.progress.items()}
        self._member.place(starts, positions)
        self._owned.place(starts, found.states)
        log.info("reading from: %s", ", ".join(f"{p}@{offset}" for p, offset in sorted(starts.items())))

    def _join_again_after_recreation(self) -> None:
        """Join the group again: the client's offsets of a recreated topic belong to the topic that was deleted."""
        backlog = self._monitor.backlog(self._clock())
        for topic in sorted(self._recreated):
            log.warning("%s", self._start_offsets.recreation_message(topic, self._owned.progress, backlog))
        self._recreated.clear()
        self._rejoin()

    def _act_on_findings(self, now_ms: int) -> None:
        """Commit idle offsets, and join the group again if a partition is stalled."""
        if self._throttling["consumer"].is_throttled() or self._member.is_paused:
            self._monitor.reset()
        findings = self._monitor.check(now_ms, self._member.consumer, self._owned)
        if findings is None or self._member.is_paused:
            return
        if findings.stalled:
            names = ", ".join(map(str, findings.stalled))
            log.error("%s does not move although there are messages: joining the group again", names)
            self._rejoin()
            return
        # A state that the broker no longer takes must not be cut off: the loop shortens it first.
        most = self.state_characters_max
        idle = {one: at for one, at in findings.idle_offsets.items() if len(self.states.get(one, "")) <= most}
        if idle and self._publisher.ready():
            if self._commit([], idle, self.states, None):
                self._owned.committed(idle)
            else:
                self.rewind()

    def _join_again_if_absent(self, now_ms: int) -> None:
        if self._absence.is_absent_too_long(now_ms, is_member=is_member(self._member.metadata)):
            log.error(
                "not a member of the group %r (WORKER_KAFKA__GROUP_ID) for %d s: joining again with a new client. "
                "If this line repeats, check the brokers and the group's coordinator",
                self._member.group_id,
                self._absence.timeout_ms // 1000,
            )
            self._rejoin()

    def _rejoin(self) -> None:
        """Join the group as a new member, with a new client, which does not have the old client's faults."""
        with self._watch("leaving the group"):
            self._member.close()
        self.rewind()
        self._quarantined.forget(list(self._quarantined.partitions))
        self._monitor.reset()
        self._member.rejoin()

    def _commit(
        self,
        outputs: Sequence[OutputRecord],
        offsets: Mapping[Partition, int],
        states: Mapping[Partition, str],
        refusal: Event | None,
    ) -> bool:
        group_metadata = self._member.metadata
        if refusal is None and not is_member(group_metadata):
            refusal = Event.NO_METADATA
        ids, limit = self._start_offsets.ids, self._start_offsets.metadata
        metadata = {p: limit.encode(ids.current(p.topic), p, states.get(p, "")) for p in offsets}
        next_offsets = [TopicPartition(p.topic, p.number, at, metadata[p]) for p, at in offsets.items()]
        check = self._start_offsets.confirmation.check_of(offsets)
        committed = self._publisher.publish(outputs, next_offsets, group_metadata, refusal, check)
        if committed:
            self._start_offsets.committed(offsets)
        if not committed and self._publisher.failure_code == TOO_LARGE:
            limit.refused(metadata.values(), self._member.group_id)
        return committed

    def _assigned(self) -> Collection[Partition]:
        """Return the partitions of this worker: positioned, waiting for a position, or in quarantine."""
        return self._member.waiting.union(self._owned.partitions, self._quarantined.partitions)

    # ---- what librdkafka calls within a poll -----------------------------------------------------------------

    def _on_taken_away(self, gone: Collection[Partition]) -> None:
        """Make the records of revoked and lost partitions stale."""
        self._owned.remove(gone)
        self._start_offsets.taken_away(gone)
        self._quarantined.forget(gone)
        self.invalidations += 1

    def _on_message_error(self, partition: Partition, offset: int, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
            self._owned.reached_end(partition, offset)
        elif CONSUMER_ERRORS.get(error.name()) is ErrorAction.FIND_POSITION:
            log.warning("%s: %s", partition, error.str())
            self.rewind()
            self._member.out_of_range.add(partition)
        else:
            self._client_errors.record(error)

    def _on_topic_id(self, topic: str, old: str, new: str) -> None:
        """Note that a topic has another id."""
        if self._start_offsets.ids.record_change(topic, old, new):
            self._recreated.add(topic)
