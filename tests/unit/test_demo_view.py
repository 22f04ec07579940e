import io
from dataclasses import replace

import pytest
from rich.console import Console

from worker.commands.demo.view import Alarm, Scene, line, panel, screen, sparkline

SCENE = Scene(
    now_ms=6200,
    total=300,
    fed=184,
    verdicts=156,
    alerts=2,
    dead_letters=3,
    per_second=9,
    pulse=[0, 1, 8, 4],
    owners={"worker-1": None, "worker-2": [1, 3, 5]},
    alarms=[
        Alarm(
            categories=[("Hate", 0.934), ("Privacy", 0.61), ("Violent crimes", 0.55)], text="[red]as it came\x1b[0m"
        ),
        Alarm(categories=[("Child sexual exploitation", 0.71), ("Suicide and self-harm", 0.6)], text="長い" * 50),
    ],
)


def test_a_line_holds_all_the_counts_and_the_latest_alert() -> None:
    assert line(SCENE) == (
        "  6.2 s  in 184, verdicts 156, alerts 2, dead letters 3, 9/s; last alert: Hate 0.93, Privacy 0.61, 1 more"
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_panel_fits_a_terminal_and_shows_texts_as_they_are(width: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width).print(panel(SCENE))
    drawn = stream.getvalue()
    assert len(drawn.splitlines()) <= 15
    for part in ("184 of 300", "verdicts 156", "worker-1   killed", "judges partitions 1, 3, 5", "[red]as it came"):
        assert part in drawn
    assert "\x1b" not in drawn


def test_the_smallest_value_but_zero_can_be_seen() -> None:
    assert sparkline([0, 1, 100, 50]) == " ▁█▄"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""


def test_without_a_terminal_there_is_a_line_a_second_and_a_last_one() -> None:
    stream = io.StringIO()
    with screen(Console(file=stream, force_terminal=False)) as shown:
        for now_ms in (200, 1100, 1900, 2100):
            shown.show(replace(SCENE, now_ms=now_ms, alarms=[]))
        shown.show_last(replace(SCENE, now_ms=2200, alarms=[]))
    assert [told[:7] for told in stream.getvalue().splitlines()] == ["  1.1 s", "  2.1 s", "  2.2 s"]
