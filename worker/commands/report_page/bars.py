"""Bars of counts before and after, as an SVG element in a page. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from worker.commands.report_page.charts import CLASSES, NumbersTable, Svg

WIDTH = 360
LABELS, COUNTS = 150, 52
"""Room for the names before the bars, and for the counts after the bars, in units of the picture."""
TOP, ROW, BAR = 48, 34, 12
"""Room above the bars, height of a row, height of a bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Two bars for each row: a count before and a count after.

    Attributes:
        title: The title in the picture.
        description: What the picture shows, as sentences; it replaces the picture for those who can't see it.
        series: The names of the two counts.
        rows: The name of each row, with its two counts.
        numbers: The numbers as a table; None if the page shows them elsewhere.
    """

    title: str
    description: str
    series: tuple[str, str]
    rows: Sequence[tuple[str, int, int]]
    numbers: NumbersTable | None = None

    def svg(self, name: str) -> Svg:
        """Return the picture as an SVG element whose ids begin with ``name``."""
        return Svg("\n".join(self._elements(escape(name))))

    def _elements(self, name: str) -> Iterator[str]:
        height = TOP + ROW * len(self.rows)
        yield (
            f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-labelledby="{name}-title" aria-describedby="{name}-text">'
            f'<title id="{name}-title">{escape(self.title)}</title>'
            f'<desc id="{name}-text">{escape(self.description)}</desc>'
            f'<text class="chart-title" x="0" y="16">{escape(self.title)}</text>'
        )
        for number, (series, style) in enumerate(zip(self.series, CLASSES, strict=True)):
            x = LABELS + 90 * number
            yield f'<rect class="bar-{style}" x="{x}" y="26" width="{BAR}" height="{BAR}"/>'
            yield f'<text x="{x + BAR + 6}" y="36">{escape(series)}</text>'
        most = max((max(before, after) for _, before, after in self.rows), default=0) or 1
        for number, (label, *counts) in enumerate(self.rows):
            y = TOP + ROW * number
            yield f'<text x="{LABELS - 8}" y="{y + BAR + 5}" text-anchor="end">{escape(label)}</text>'
            for place, (count, style) in enumerate(zip(counts, CLASSES, strict=True)):
                top, width = y + place * (BAR + 2), (WIDTH - LABELS - COUNTS) * count / most
                yield f'<rect class="bar-{style}" x="{LABELS}" y="{top}" width="{width:.1f}" height="{BAR}"/>'
                yield f'<text x="{LABELS + width + 5:.1f}" y="{top + BAR - 2}">{count:,}</text>'
        yield "</svg>"
