import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Literal

import pytest
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace import TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.logs import escaped, setup_logging

LOGGER = logging.getLogger("worker.loop")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def logged(style: Literal["text", "json"] | None = "json", *, stream: io.StringIO, **extra: object) -> str:
    setup_logging("info", style, stream)
    LOGGER.info("assigned %d partitions", 3, extra=extra)
    return stream.getvalue()


def test_a_json_line_holds_time_level_logger_message_and_the_extra_fields() -> None:
    entry = json.loads(logged(stream=io.StringIO(), topic="chat.messages", lag=7))
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "info",
        "logger": "worker.loop",
        "message": "assigned 3 partitions",
        "topic": "chat.messages",
        "lag": 7,
    }


def test_the_time_is_the_records_in_utc_with_milliseconds() -> None:
    stream = io.StringIO()
    setup_logging("info", "json", stream)
    LOGGER.handle(
        logging.makeLogRecord({"created": 1_700_000_000.25, "levelno": logging.INFO, "levelname": "INFO"})
    )
    assert json.loads(stream.getvalue())["time"] == "2023-11-14T22:13:20.250Z"


def test_a_terminal_gets_text_and_a_pipe_gets_json_unless_the_format_is_set() -> None:
    assert logged(None, stream=Terminal()).endswith(" INFO    worker.loop: assigned 3 partitions\n")
    assert logged(None, stream=io.StringIO()).startswith("{")
    assert logged("json", stream=Terminal()).startswith("{")
    assert logged("text", stream=io.StringIO(), lag=7).endswith("assigned 3 partitions lag=7\n")


def test_a_line_below_the_level_is_left_out() -> None:
    stream = io.StringIO()
    setup_logging("warning", "text", stream)
    LOGGER.info("quiet")
    LOGGER.warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


@pytest.mark.parametrize("value", ["\ud83d", 2**70, object])
def test_a_value_that_json_has_no_room_for_loses_no_line(value: object) -> None:
    entry = json.loads(logged(stream=io.StringIO(), value=value))
    assert entry["message"] == "assigned 3 partitions"
    assert "value" in entry


@pytest.mark.parametrize("style", ["text", "json"])
def test_an_exception_comes_with_its_traceback(style: Literal["text", "json"]) -> None:
    stream = io.StringIO()
    setup_logging("info", style, stream)
    try:
        int("x")
    except ValueError:
        LOGGER.exception("it broke")
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_a_json_line_stays_one_line() -> None:
    stream = io.StringIO()
    setup_logging("info", "json", stream)
    LOGGER.info("two\nlines")
    assert stream.getvalue().count("\n") == 1


FORGED = "2026-01-31T09:30:00.250Z ERROR   worker.loop: forged"
HOSTILE = f"a\n{FORGED}\r\x1b[2J\x00\x7f\x85\x9b31m\u2028{FORGED}\u2029\u202e\u2066\ud83d\U000e0001"


def unsafe(written: str) -> set[str]:
    return {character for character in written if not character.isprintable()} - {"\n"}


@pytest.mark.parametrize("place", ["message", "argument", "field", "exception", "chained exception"])
@pytest.mark.parametrize("style", ["text", "json"])
def test_a_line_cannot_be_forged_and_a_terminal_has_nothing_to_obey(
    style: Literal["text", "json"], place: str
) -> None:
    stream = io.StringIO()
    setup_logging("info", style, stream)
    given = None
    if place == "exception":
        given = ValueError(HOSTILE)
    elif place == "chained exception":
        given = ValueError(HOSTILE)
        given.__cause__ = KeyError(HOSTILE)
    message = HOSTILE if place == "message" else "it broke: %s"
    arguments = () if place == "message" else (HOSTILE if place == "argument" else "here",)
    LOGGER.error(message, *arguments, exc_info=given, extra={"field": HOSTILE} if place == "field" else None)
    written = stream.getvalue()
    assert unsafe(written) == set()
    first, *more = written.splitlines()
    assert first[0] == ("{" if style == "json" else "2")
    assert all(not line or line.startswith("    ") for line in more)
    assert bool(more) == (style == "text" and "exception" in place)
    assert "forged" in written
    if style == "json":
        assert json.loads(written)["level"] == "error"


def test_ordinary_text_is_written_as_it_is() -> None:
    stream = io.StringIO()
    setup_logging("info", "text", stream)
    LOGGER.info("grüße an %s \U0001f600 from C:\\new", "всем")
    assert stream.getvalue().endswith(" worker.loop: grüße an всем \U0001f600 from C:\\new\n")


def test_a_message_of_several_lines_of_our_own_keeps_them() -> None:
    stream = io.StringIO()
    setup_logging("info", "text", stream)
    LOGGER.critical("the threads:\n%s", "thread a:\n  file:1 f\x1b", extra={"multiline": True})
    assert stream.getvalue().splitlines()[1:] == ["    thread a:", "      file:1 f\\x1b"]
    assert "multiline" not in stream.getvalue()


def test_opentelemetry_says_nothing_of_headers() -> None:
    stream = io.StringIO()
    setup_logging("debug", "text", stream)
    TraceState.from_header(["a\nforged"])
    TraceState([("\x1b", "forged")])
    carrier = {"traceparent": "0" * 600, "baggage": "forged;" * 9000}
    TraceContextTextMapPropagator().extract(carrier)
    W3CBaggagePropagator().extract(carrier)
    assert stream.getvalue() == ""


def test_pythons_warnings_become_log_lines() -> None:
    stream = io.StringIO()
    setup_logging("info", "json", stream)
    with warnings.catch_warnings(action="always"):
        warnings.warn("a library is old", stacklevel=1)
    assert "a library is old" in json.loads(stream.getvalue())["message"]


def test_setting_up_again_takes_the_place_of_what_was_set_up_before() -> None:
    first, second = io.StringIO(), io.StringIO()
    setup_logging("info", "text", first)
    setup_logging("info", "text", second)
    LOGGER.info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_a_long_text_is_cut_after_it_was_escaped() -> None:
    assert escaped("a" * 9, 9) == "a" * 9
    assert escaped("a" * 10, 9) == "a" * 8 + "…"
    assert escaped("\x1b" * 5, 9) == r"\x1b\x1b…"
