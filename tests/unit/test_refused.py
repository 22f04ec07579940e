"""A broker refuses a crowd; the culprit is found by sending it apart."""

from hypothesis import given
from hypothesis import strategies as st

from worker.records import Fetched, Output, Partition, Topic
from worker.refused import Name, name_of, sort_out

INPUT = Partition("messages", 0)


def output(offset: int) -> Output:
    source = Fetched(
        partition=INPUT,
        epoch=1,
        previous_next_offset=offset,
        offset=offset,
        timestamp_ms=None,
        key=None,
        value=b"",
        headers=(),
    )
    return Output(topic=Topic.VERDICT, source=source, key=None, value=b"", headers=())


def target(one: Output) -> tuple[str, int]:
    return "verdicts", one.source.offset % 2


@given(st.integers(1, 2000), st.data())
def test_the_culprits_are_found_in_a_few_passes_and_nobody_else_is_blamed(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3))
    outputs = [output(offset) for offset in range(count)]
    blamed: set[int] = set()
    apart: set[Name] = set()
    for _ in range(12):
        # A pass: the broker refuses each crowd with a bad one in it; what is blamed already is not sent again.
        sent = [one for one in outputs if one.source.offset not in blamed]
        crowds: dict[tuple[str, int], list[list[Output]]] = {}
        for one in sent:
            there = crowds.setdefault(target(one), [[]])
            if name_of(one) in apart:
                for others in crowds.values():  # a flush is one of all partitions
                    others.append([])
            there[-1].append(one)
        refused = {
            name_of(one)
            for there in crowds.values()
            for crowd in there
            if any(other.source.offset in bad for other in crowd)
            for one in crowd
        }
        culprits, further = sort_out([one for one in sent if name_of(one) in refused], target, apart)
        blamed |= {one.source.offset for one in culprits}
        apart |= further
    assert blamed == bad
