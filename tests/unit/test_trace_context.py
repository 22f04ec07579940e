import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.moderation.trace_context import trace_context_of

if TYPE_CHECKING:
    from worker.records import Headers

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def copied_headers(*headers: tuple[str, str]) -> dict[str, str]:
    context = trace_context_of([(name, value.encode()) for name, value in headers])
    return {name: (value or b"").decode() for name, value in context.headers} if context else {}


@pytest.mark.parametrize(
    "parent",
    [
        PARENT,
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-ff",
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-more-x",
    ],
)
def test_a_valid_traceparent_is_copied_unchanged(parent: str) -> None:
    assert copied_headers(("x", "1"), ("TraceParent", parent)) == {"traceparent": parent}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01more",
        f"01-{TRACE}-{SPAN}-01-a\nb",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"{PARENT}\n",
        f" {PARENT}",
        f"00-{TRACE}-{SPAN}-0é",
        "\N{ARABIC-INDIC DIGIT ZERO}0" + PARENT[2:],
    ],
)
def test_an_invalid_traceparent_is_not_copied_and_its_tracestate_is_not_either(parent: str) -> None:
    assert copied_headers(("traceparent", parent), ("tracestate", "a=1")) == {}


def test_a_message_with_two_traceparents_has_no_trace_context() -> None:
    assert copied_headers(("traceparent", PARENT), ("Traceparent", PARENT)) == {}
    assert trace_context_of([("traceparent", None)]) is None
    assert copied_headers(("tracestate", "a=1")) == {}


@pytest.mark.parametrize(
    "state",
    [
        "a=1",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "fw529a3039@dt=FfffffffCRyZ, 0@b=x y!\t,\ta_-*/9=~",
        ",a=1,,b=2,",
        ",".join(f"k{number}=v" for number in range(32)),
        f"a={'v' * 256}",
        f"{'k' * 256}=v",
        f"{'k' * 241}@{'s' * 14}=v",
        f"a={'v' * 253},b={'v' * 254}",
    ],
)
def test_a_valid_tracestate_is_copied_unchanged(state: str) -> None:
    assert copied_headers(("traceparent", PARENT), ("tracestate", state)) == {
        "traceparent": PARENT,
        "tracestate": state,
    }


@pytest.mark.parametrize(
    "state",
    [
        "",
        ",",
        "a",
        "a=",
        "=1",
        "a=1,A=2",
        "a=1=2",
        "a=1 ,b=é",
        "a=1\x1b[2J",
        "a=1\n2026-01-31T09:30:00.250Z ERROR   worker: forged",
        "a=1,a=2",
        "a=1;b=2",
        "1a=1",
        "a@=1",
        "@a=1",
        "a@1b=1",
        "a @b=1",
        f"{'k' * 257}=v",
        f"{'k' * 242}@s=v",
        f"k@{'s' * 15}=v",
        f"a={'v' * 257}",
        f"a={'v' * 254},b={'v' * 254}",
        ",".join(f"k{number}=v" for number in range(33)),
    ],
)
def test_an_invalid_tracestate_is_left_out_and_the_traceparent_is_kept(state: str) -> None:
    assert copied_headers(("traceparent", PARENT), ("tracestate", state)) == {"traceparent": PARENT}


def test_several_tracestates_are_joined_in_order() -> None:
    headers = (("tracestate", "a=1"), ("traceparent", PARENT), ("x", "c=3"), ("TRACESTATE", "b=2"))
    assert copied_headers(*headers) == {"traceparent": PARENT, "tracestate": "a=1,b=2"}
    assert copied_headers(*headers, ("tracestate", "a=4")) == {"traceparent": PARENT}


VALUES = st.binary(max_size=600) | st.from_regex(r"[a-z@=, \t]{0,40}", fullmatch=True).map(str.encode) | st.none()


@given(parents=st.lists(VALUES | st.just(PARENT.encode()), max_size=2), states=st.lists(VALUES, max_size=40))
def test_copied_headers_are_short_and_printable(parents: list[bytes | None], states: list[bytes | None]) -> None:
    headers: Headers = [*(("traceparent", one) for one in parents), *(("tracestate", one) for one in states)]
    context = trace_context_of(headers)
    if context is not None:
        assert parents == [context.traceparent]
        assert re.fullmatch(rb"[\x20-\x7e\t]{0,512}", context.tracestate)
        assert bool(context.state) == bool(context.tracestate)
