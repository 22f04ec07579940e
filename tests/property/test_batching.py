"""Compare the queue before the device with the simplest correct model: a list."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from worker.batching import Backpressure, BatchBounds, BatchQueue, CommitSchedule, InFlightLimit, TokenLoad
from worker.records import ConsumedRecord, Partition, PreparedMessage, PreparedRecord

BOUNDS = BatchBounds(records_max=5, tokens_max=20, wait_ms_max=10)


def record(offset: int, tokens: int) -> PreparedRecord:
    source = ConsumedRecord(
        partition=Partition("messages", offset % 3),
        assignment_epoch=1,
        previous_next_offset=offset,
        offset=offset,
        timestamp_ms=None,
        key=None,
        value=b"x" * tokens,
        headers=(),
    )
    content = PreparedMessage(
        message_id=str(offset),
        channel_id=None,
        user_id=None,
        sent_at=None,
        characters=tokens,
        text_digest=b"n",
        tokens=range(tokens),
        truncated=False,
    )
    return PreparedRecord(source=source, content=content)


class QueueMachine(RuleBasedStateMachine):
    """Admit, take and drop at random; keep a list of (record, time of arrival) as the model."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = BatchQueue(BOUNDS)
        self.model: list[tuple[PreparedRecord, int]] = []
        self.taken: list[tuple[PreparedRecord, int]] = []
        self.now_ms = 0
        self.count = 0

    @rule(tokens=st.lists(st.integers(0, 20), max_size=8))
    def admit(self, tokens: list[int]) -> None:
        records = [record(self.count + index, number) for index, number in enumerate(tokens)]
        self.count += len(records)
        self.queue.admit(records, self.now_ms)
        self.model += [(one, self.now_ms) for one in records]

    @rule(passed_ms=st.integers(0, 15))
    def wait(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    @rule(wait_ms=st.sampled_from([0, BOUNDS.wait_ms_max]))
    def take(self, wait_ms: int) -> None:
        full = len(self.model) >= 5 or sum(one.tokens_to_score for one, _ in self.model) >= 20
        due = bool(self.model) and (full or self.now_ms - self.model[0][1] >= wait_ms)
        batch = self.queue.take(self.now_ms, wait_ms)
        assert bool(batch) == due
        assert batch == [one for one, _ in self.model[: len(batch)]]
        assert len(batch) <= 5
        assert sum(one.tokens_to_score for one in batch) <= 20
        rest = self.model[len(batch) :]
        if batch and rest and len(batch) < 5:
            # The batch was the longest prefix.
            assert sum(one.tokens_to_score for one in batch) + rest[0][0].tokens_to_score > 20
        if batch:
            self.taken = [(one, self.model[0][1]) for one in batch]
        self.model = rest

    @rule(stale=st.integers(0, 2))
    def put_back(self, stale: int) -> None:
        left = [entry for entry in self.taken if entry[0].source.partition.number != stale]
        self.queue.put_back([one for one, _ in left])
        self.model = left + self.model
        self.taken = []

    @rule(number=st.integers(0, 2))
    def drop_a_partition(self, number: int) -> None:
        self.queue.retain(lambda one: one.source.partition.number != number)
        self.model = [entry for entry in self.model if entry[0].source.partition.number != number]

    @invariant()
    def holds_as_many(self) -> None:
        assert len(self.queue) == len(self.model)


TestBatchQueue = QueueMachine.TestCase
NO_LOAD = TokenLoad(tokens=0, tokens_mean=0)


@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 12)), max_size=40))
def test_the_owner_polls_only_while_memory_has_room(steps: list[tuple[int, int]]) -> None:
    limit = InFlightLimit(records_max=10, bytes_max=10_000, tokens_max=100)
    held: list[ConsumedRecord] = []
    now_ms, full_since_ms, was = 0, 0, Backpressure.POLL
    for passed_ms, wanted in steps:
        now_ms += passed_ms
        backpressure = limit.backpressure(now_ms, NO_LOAD)
        if was is Backpressure.POLL and backpressure is not Backpressure.POLL:
            full_since_ms = now_ms
        if len(held) < 5:
            assert backpressure is Backpressure.POLL
        if len(held) >= 10:
            assert backpressure is not Backpressure.POLL
        # A short wait never discards prefetched messages.
        if backpressure is Backpressure.PAUSE:
            assert now_ms - full_since_ms >= 1000
        new = [record(index, 1).source for index in range(wanted)] if backpressure is Backpressure.POLL else []
        held += new
        limit.add(new)
        done = held[: wanted // 2]
        held = held[len(done) :]
        limit.release(done)
        assert limit.records == len(held)
        was = backpressure


def test_bytes_fill_the_memory_like_records() -> None:
    limit = InFlightLimit(records_max=1000, bytes_max=100, tokens_max=100)
    limit.add([record(0, 100).source])
    assert limit.backpressure(0, NO_LOAD) is Backpressure.WAIT


def test_tokens_that_wait_for_the_device_fill_the_memory_like_records() -> None:
    limit = InFlightLimit(records_max=1000, bytes_max=10**6, tokens_max=100)
    queue = BatchQueue(BatchBounds(records_max=50, tokens_max=50, wait_ms_max=0))
    queue.admit([record(index, 30) for index in range(4)], 0)
    assert limit.backpressure(0, queue.load(0)) is Backpressure.WAIT
    assert limit.backpressure(1000, queue.load(0)) is Backpressure.PAUSE
    queue.take(1000, 0)
    queue.take(1000, 0)
    queue.take(1000, 0)
    assert limit.backpressure(1000, queue.load(0)) is Backpressure.POLL


def test_records_without_tokens_yet_count_as_many_as_the_last_ones_had() -> None:
    limit = InFlightLimit(records_max=1000, bytes_max=10**6, tokens_max=1000)
    queue = BatchQueue(BatchBounds(records_max=50, tokens_max=50, wait_ms_max=0))
    assert limit.room(50, queue.load(0)) == 50
    for _ in range(10):
        queue.admit([record(0, 40)], 0)
        queue.take(0, 0)
    assert limit.room(50, queue.load(0)) == 25
    assert limit.room(50, queue.load(20)) == 5
    assert limit.backpressure(0, queue.load(20)) is Backpressure.POLL
    assert limit.backpressure(0, queue.load(26)) is Backpressure.WAIT
    assert limit.room(50, queue.load(26)) == 1


def schedule_after_a_transaction(ended_ms: int) -> CommitSchedule:
    """Return a schedule whose last transaction took 7 ms, and whose first result came when it ended."""
    schedule = CommitSchedule(wait_ms_max=100, pause_ms=5, records_full=10, slow_ms=1000)
    schedule.ended(ended_ms - 7, ended_ms, results=1, is_committed=True)
    schedule.first_result(ended_ms)
    return schedule


def test_with_few_records_in_memory_results_wait_for_the_pause_alone() -> None:
    schedule = schedule_after_a_transaction(50)
    assert not schedule.is_due(56, results=1, in_memory=9)
    assert schedule.is_due(57, results=1, in_memory=9)


def test_while_memory_holds_a_full_transaction_results_wait_until_they_fill_it() -> None:
    schedule = schedule_after_a_transaction(50)
    assert not schedule.is_due(149, results=9, in_memory=30)
    assert schedule.is_due(51, results=10, in_memory=30)


@given(st.integers(1, 40), st.integers(0, 40), st.integers(50, 300))
def test_no_result_waits_too_long_or_for_records_that_are_not_there(results: int, others: int, now_ms: int) -> None:
    is_due = schedule_after_a_transaction(50).is_due(now_ms, results=results, in_memory=results + others)
    assert is_due or (others and now_ms < 150)


def sizes_after(*transactions: tuple[int, int, bool]) -> list[int]:
    """Return the largest size after each transaction: its results, how long it took, whether it was committed."""
    schedule = CommitSchedule(wait_ms_max=100, pause_ms=5, records_full=6400, slow_ms=7_500)
    sizes = []
    for results, took_ms, is_committed in transactions:
        schedule.ended(0, took_ms, results=results, is_committed=is_committed)
        sizes.append(schedule.records_max)
    return sizes


def test_transactions_are_halved_while_they_time_out_and_never_below_a_64th_of_a_full_one() -> None:
    timed_out = [(results, 15_000, False) for results in (6400, 600, 300, 150, 100)]
    assert sizes_after(*timed_out) == [3200, 300, 150, 100, 100]


def test_transactions_grow_again_while_they_are_quick_and_not_too_small() -> None:
    after_time_out = [(3000, 15_000, False), (1500, 7_501, True), (749, 10, True), (750, 7_500, True)]
    assert sizes_after(*after_time_out, (3000, 10, False), (6000, 10, True)) == [1500, 1500, 1500, 3000, 6000, 6400]


def test_a_transaction_of_states_alone_says_nothing_about_the_size() -> None:
    assert sizes_after((0, 15_000, False), (6400, 15_000, False), (0, 10, True)) == [6400, 3200, 3200]
