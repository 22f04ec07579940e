"""The timeline of a proof as an SVG: what was judged, what waited, who worked, and each fault where it struck."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from worker.commands.prove.plan import WORKERS_MAX, Kind
from worker.commands.prove.proof import Proof, Sample

WIDTH, LEFT, RIGHT = 1000, 70, 20
JUDGED, LAG, CREW = (50, 190), (230, 330), (370, 430)  # top and bottom of each panel
LEGEND = 480
COLOURS = {
    Kind.KILL: "#d62728",
    Kind.TERM: "#1f77b4",
    Kind.PAUSE: "#c5b000",
    Kind.PAUSE_SESSION: "#ff7f0e",
    Kind.PAUSE_ALL: "#8c564b",
    Kind.UP: "#2ca02c",
    Kind.DOWN: "#17becf",
    Kind.RIVAL: "#9467bd",
    Kind.BROKER_KILL: "#000000",
    Kind.BROKER_STOP: "#7f7f7f",
    Kind.QUOTA: "#e377c2",
    Kind.TRANSACTION: "#3949ab",
    Kind.RECREATE: "#808000",
}


def draw(proof: Proof, title: str) -> str:
    """The picture.

    Args:
        proof: With at least two beats.
        title: What was proven, and where.
    """
    end_ms = proof.beats[-1].at_ms
    height = LEGEND + 20 * len(Kind) // 2 + 20
    rates = _rates(proof.beats)
    waiting = [(beat.at_ms, float(beat.fed - beat.judged)) for beat in proof.beats]
    alive = [(beat.at_ms, float(beat.alive)) for beat in proof.beats]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(LEFT, 25, title, size=15),
        *_panel("judged per second", rates, JUDGED, end_ms=end_ms, colour="#1f77b4", top=_highest(rates)),
        *_panel("waiting", waiting, LAG, end_ms=end_ms, colour="#d62728", top=_highest(waiting)),
        *_panel(
            "workers; below, each time that one was given partitions",
            alive,
            CREW,
            end_ms=end_ms,
            colour="#2ca02c",
            top=WORKERS_MAX,
        ),
        *_rebalances(proof, end_ms),
        *_faults(proof, end_ms),
        *_seconds(end_ms, CREW[1] + 18),
        *_legend(proof),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def curve(title: str, points: Sequence[tuple[int, float]]) -> str:
    """A single curve over time, from 0."""
    end_ms = points[-1][0]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {JUDGED[1] + 40}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_panel(title, points, JUDGED, end_ms=end_ms, colour="#1f77b4", top=_highest(points)),
        *_seconds(end_ms, JUDGED[1] + 18),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _rates(beats: Sequence[Sample]) -> list[tuple[int, float]]:
    return [
        (late.at_ms, (late.judged - early.judged) * 1000 / (late.at_ms - early.at_ms))
        for early, late in pairwise(beats)
    ]


def _x(at_ms: int, end_ms: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at_ms / end_ms


def _highest(points: Sequence[tuple[int, float]]) -> float:
    return max(1.0, *(value for _, value in points))


def _panel(
    name: str,
    points: Sequence[tuple[int, float]],
    place: tuple[int, int],
    *,
    end_ms: int,
    colour: str,
    top: float,
) -> Iterator[str]:
    upper, lower = place
    path = " ".join(
        f"{_x(at_ms, end_ms):.1f},{lower - (lower - upper) * value / top:.1f}" for at_ms, value in points
    )
    yield f'<rect x="{LEFT}" y="{upper}" width="{WIDTH - LEFT - RIGHT}" height="{lower - upper}" fill="#f6f6f6"/>'
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    yield _text(LEFT, upper - 5, name)
    yield _text(LEFT - 6, upper + 10, f"{top:,.0f}", anchor="end")
    yield _text(LEFT - 6, lower, "0", anchor="end")


def _rebalances(proof: Proof, end_ms: int) -> Iterator[str]:
    for at_ms in proof.rebalances:
        x = _x(min(max(0, at_ms), end_ms), end_ms)
        yield f'<line x1="{x:.1f}" y1="{CREW[1] - 6}" x2="{x:.1f}" y2="{CREW[1]}" stroke="#555555"/>'


def _faults(proof: Proof, end_ms: int) -> Iterator[str]:
    for happening in proof.happenings:
        x, colour = _x(happening.at_ms, end_ms), COLOURS[happening.fault.kind]
        yield (
            f'<line x1="{x:.1f}" y1="{JUDGED[0]}" x2="{x:.1f}" y2="{CREW[1]}" stroke="{colour}" '
            'stroke-width="1.2" stroke-dasharray="4 2"/>'
        )


def _seconds(end_ms: int, y: int) -> Iterator[str]:
    every = next(step for step in (10, 30, 60, 120, 300, 600, 3600, 86_400) if end_ms / 1000 / step <= 12)  # noqa: PLR2004 - labels that fit
    for second in range(0, end_ms // 1000 + 1, every):
        yield _text(_x(second * 1000, end_ms), y, f"{second} s", anchor="middle")


def _legend(proof: Proof) -> Iterator[str]:
    for number, kind in enumerate(Kind):
        x, y = LEFT + 460 * (number % 2), LEGEND + 20 * (number // 2)
        count = sum(happening.fault.kind is kind for happening in proof.happenings)
        yield f'<line x1="{x}" y1="{y - 4}" x2="{x + 24}" y2="{y - 4}" stroke="{COLOURS[kind]}" stroke-width="3"/>'
        yield _text(x + 32, y, f"{kind} ({count})")


def _text(x: float, y: float, words: str, *, size: int = 13, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'
