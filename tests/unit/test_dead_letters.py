import io
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from rich.console import Console

from schemas.dead_letter import REASONS
from worker.commands.dead_letters import FOREIGN, HOUR_MS, Letter, Tally, parse_since, show
from worker.errors import ConfigurationError

NOW_MS = int(datetime(2026, 1, 31, 3, 10, tzinfo=UTC).timestamp() * 1000)


def letter(ago_ms: int = 0, *, offset: int = 0, headers: Mapping[str, str] = {}) -> Letter:
    return Letter(topic="dead", partition=0, offset=offset, timestamp_ms=NOW_MS - ago_ms, headers=headers)


def shown(tally: Tally) -> str:
    screen = io.StringIO()
    show(tally, Console(file=screen, width=80), topic="dead", since_ms=0, look_with="command")
    return screen.getvalue()


@pytest.mark.parametrize(
    ("text", "since_ms"),
    [
        ("90m", NOW_MS - 90 * 60_000),
        ("24h", NOW_MS - 24 * HOUR_MS),
        ("7d", NOW_MS - 7 * 24 * HOUR_MS),
        ("999999d", 0),
        ("2026-01-31T03:10:00Z", NOW_MS),
        ("2026-01-31T05:09:59.750+02:00", NOW_MS - 250),
    ],
)
def test_since_is_a_time_or_a_time_ago(text: str, since_ms: int) -> None:
    assert parse_since(text, NOW_MS) == since_ms


@pytest.mark.parametrize("text", ["", "24", "-1h", "yesterday", "2026-01-31T03:10:00", "1969-12-31T00:00:00Z"])
def test_any_other_since_is_a_wrong_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="RFC 3339 time with its zone"):
        parse_since(text, NOW_MS)


def test_a_time_in_the_future_is_refused_with_the_time_now() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse_since("2026-01-31T05:10:00.001+02:00", NOW_MS, "--until")
    assert str(refusal.value) == (
        "--until: got '2026-01-31T05:10:00.001+02:00', a time in the future; it is 2026-01-31T03:10:00.000Z now"
    )


def test_all_reasons_with_large_numbers_fit_into_80_columns() -> None:
    tally = Tally(now_ms=NOW_MS, examples_max=1)
    for reason in [*REASONS, FOREIGN]:
        tally.add(reason, letter())
        tally.counts[NOW_MS // HOUR_MS * HOUR_MS, reason] = 123_456_789
    lines = shown(tally).splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.split()[-3] for line in lines if " 123,456,789  █" in line} == {*REASONS, FOREIGN}


def test_records_with_times_in_the_future_count_in_the_current_hour() -> None:
    tally = Tally(now_ms=NOW_MS, examples_max=3)
    for number in range(100):
        tally.add(FOREIGN, letter(-number * HOUR_MS))
    tally.add(FOREIGN, letter(-(2**62)))
    assert tally.counts == {(NOW_MS // HOUR_MS * HOUR_MS, FOREIGN): 101}
    assert "newest 9999-12-31" in shown(tally)


def test_the_newest_examples_are_kept_in_any_order_of_reading() -> None:
    tally = Tally(now_ms=NOW_MS, examples_max=2)
    for offset, ago_ms in enumerate([5, 1, 9, 3]):
        tally.add("not_json", letter(ago_ms, offset=offset))
    assert [one.offset for one in tally.examples("not_json")] == [1, 3]


def test_without_examples_no_command_is_shown() -> None:
    tally = Tally(now_ms=NOW_MS, examples_max=0)
    tally.add("not_json", letter())
    assert "not_json: 1." in shown(tally)
    assert "command" not in shown(tally)


def test_a_forged_header_neither_controls_nor_floods_the_terminal() -> None:
    tally = Tally(now_ms=NOW_MS, examples_max=1)
    forged = {"error.reason": "\x1b[2J[red]", "error.message": "\x1b]0;x\x07" + "a\n" * 10_000}
    tally.add(FOREIGN, letter(headers=forged))
    said = shown(tally)
    assert "\x1b" not in said
    assert "reason: \\x1b[2J[red]" in said
    assert len(said) < 2_000
