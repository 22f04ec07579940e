"""Charts as SVG elements in a page: curves and histograms on axes from 0 to 1. Pure.

matplotlib does not fit: its SVG has no roles and no descriptions, and it can't follow the page's colours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 30, 40
"""Margins around the plot, in units of the picture."""
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
CLASSES = ("first", "second")
"""The style of each series; the second has dashes, so nobody needs to see colours."""

Points = Sequence[tuple[float, float]]


class NumbersTable(Protocol):
    """The numbers of a chart as a table."""

    @property
    def caption(self) -> str:
        """What the table shows."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""

    @property
    def rows(self) -> Sequence[Sequence[str]]:
        """The cells of each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreHistogram:
    """Shares of scores in bins of equal width from 0 to 1.

    Attributes:
        name: What the scores are of.
        shares: The share of each bin, in [0, 1].
    """

    name: str
    shares: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture with a title, a description and, where they exist, its numbers.

    Attributes:
        title: The title in the picture.
        description: What the picture shows, as sentences; it replaces the picture for those who can't see it.
        x_label: What the horizontal axis shows.
        y_label: What the vertical axis shows.
        curves: At most two curves, each with its name.
        histograms: At most two histograms with the same bins.
        point: A marked point, or None.
        threshold: A marked score on the horizontal axis, or None.
        numbers: The numbers as a table, or None.
    """

    title: str
    description: str
    x_label: str
    y_label: str
    curves: Sequence[tuple[str, Points]] = ()
    histograms: Sequence[ScoreHistogram] = ()
    point: tuple[float, float] | None = None
    threshold: float | None = None
    numbers: NumbersTable | None = None

    def svg(self, name: str) -> "Svg":
        """Return the picture as an SVG element whose ids begin with ``name``."""
        return Svg("\n".join(self._elements(escape(name))))

    def _elements(self, name: str) -> Iterator[str]:
        yield (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-labelledby="{name}-title" aria-describedby="{name}-text">'
            f'<title id="{name}-title">{escape(self.title)}</title>'
            f'<desc id="{name}-text">{escape(self.description)}</desc>'
        )
        yield f'<text class="chart-title" x="{LEFT}" y="16">{escape(self.title)}</text>'
        yield from _axes(self.x_label, self.y_label)
        for histogram, style in zip(self.histograms, CLASSES, strict=False):
            yield from _bars(histogram.shares, style)
        for (_, points), style in zip(self.curves, CLASSES, strict=False):
            path = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
            yield f'<polyline class="curve {style}" points="{path}"/>'
        if self.threshold is not None:
            x = _x(self.threshold)
            yield f'<line class="threshold" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>'
        if self.point is not None:
            yield f'<circle class="point" cx="{_x(self.point[0]):.1f}" cy="{_y(self.point[1]):.1f}" r="4"/>'
        yield from _legend([one.name for one in self.histograms] or [title for title, _ in self.curves])
        yield "</svg>"


class Svg(str):
    """An SVG element that is part of a page as it is; the templates do not escape it."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the element; template engines ask for it."""
        return str(self)


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)


def _axes(x_label: str, y_label: str) -> Iterator[str]:
    for tick in TICKS:
        x, y = _x(tick), _y(tick)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{tick:g}</text>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    yield f'<line class="axis" x1="{LEFT}" y1="{_y(0):.1f}" x2="{WIDTH - RIGHT}" y2="{_y(0):.1f}"/>'
    yield f'<text x="{_x(0.5):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
    middle = _y(0.5)
    turned = f'text-anchor="middle" transform="rotate(-90 12 {middle:.1f})"'
    yield f'<text x="12" y="{middle:.1f}" {turned}>{escape(y_label)}</text>'


def _bars(shares: Sequence[float], style: str) -> Iterator[str]:
    width = (WIDTH - LEFT - RIGHT) / len(shares)
    for number, share in enumerate(shares):
        place = f'x="{LEFT + number * width + 1:.1f}" y="{_y(share):.1f}"'
        yield f'<rect class="bar-{style}" {place} width="{width - 2:.1f}" height="{_y(0) - _y(share):.1f}"/>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    if len(names) < 2:  # noqa: PLR2004 - the title names a single series
        return
    for number, (name, style) in enumerate(zip(names, CLASSES, strict=False)):
        y = TOP + 12 + 15 * number
        yield f'<line class="curve {style}" x1="{WIDTH - 118}" y1="{y - 4}" x2="{WIDTH - 98}" y2="{y - 4}"/>'
        yield f'<text x="{WIDTH - 92}" y="{y}">{escape(name)}</text>'
