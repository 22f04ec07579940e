import io
from dataclasses import replace

import pytest
from rich.console import Console

from worker.commands.demo.view import DemoStatus, ShownAlert, line, panel, screen, sparkline

STATUS = DemoStatus(
    now_ms=6200,
    total=300,
    fed=184,
    verdicts=156,
    alerts=2,
    dead_letters=3,
    per_second=9,
    bars=[0, 1, 8, 4],
    levels={"review": 3, "remove": 1},
    exempt=1,
    counted=39,
    owners={"worker-1": None, "worker-2": [1, 3, 5]},
    latest_alerts=[
        ShownAlert(
            categories=[("Hate", 0.934), ("Privacy", 0.61), ("Violent crimes", 0.55)],
            text="[red]as it came\x1b[0m",
            level="remove",
        ),
        ShownAlert(
            categories=[("Child sexual exploitation", 0.71), ("Suicide and self-harm", 0.6)],
            text="長い" * 50,
            level="review",
            counted=39,
        ),
    ],
)


def test_a_line_has_all_the_counts_and_the_latest_alert() -> None:
    assert line(STATUS) == (
        "  6.2 s  in 184, verdicts 156, alerts 2, dead letters 3, 9/s; "
        "last alert: Hate 0.93, Privacy 0.61, 1 more (remove)"
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_panel_fits_a_terminal_and_shows_texts_without_control_characters(width: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width).print(panel(STATUS))
    drawn = stream.getvalue()
    assert len(drawn.splitlines()) <= 15
    for part in (
        "184 of 300",
        "verdicts 156",
        "worker-1   killed",
        "judges partitions 1, 3, 5",
        "[red]as it came",
        "review 3  remove 1  exempt 1  counted 39",
    ):
        assert part in drawn
    assert "\x1b" not in drawn


def test_every_value_except_zero_is_visible() -> None:
    assert sparkline([0, 1, 100, 50]) == " ▁█▄"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""


def test_without_a_terminal_there_is_one_line_a_second_and_a_last_line() -> None:
    stream = io.StringIO()
    with screen(Console(file=stream, force_terminal=False)) as shown:
        for now_ms in (200, 1100, 1900, 2100):
            shown.show(replace(STATUS, now_ms=now_ms, latest_alerts=[]))
        shown.show_last(replace(STATUS, now_ms=2200, latest_alerts=[]))
    assert [shown_line[:7] for shown_line in stream.getvalue().splitlines()] == ["  1.1 s", "  2.1 s", "  2.2 s"]
