"""A report as one HTML file that needs no network, no script and no mouse.

Keyboard and screen reader: landmarks and headings give the structure, tables have captions and header cells, a wide
table can be reached and scrolled by keyboard, and every chart has a title, a description and its numbers as text.
A Content-Security-Policy in the file forbids every request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from worker.commands.report_page.bars import BarChart
from worker.commands.report_page.charts import Chart
from worker.commands.terminal import write_text
from worker.errors import ConfigurationError

TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTable:
    """A table whose first column names the row.

    Attributes:
        caption: What the table shows, as a sentence without its full stop.
        columns: The names of the columns.
        rows: The cells of each row, as text.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSection:
    """A part of a report with its own heading.

    Attributes:
        title: The heading.
        paragraphs: Sentences before the tables.
        tables: Tables.
        charts: Charts, after the tables.
    """

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[ReportTable] = ()
    charts: Sequence[Chart | BarChart] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """A report.

    Attributes:
        title: The heading of the page.
        paragraphs: Sentences before the sections.
        sections: The sections.
    """

    title: str
    paragraphs: Sequence[str]
    sections: Sequence[ReportSection]

    def html(self) -> str:
        """Return the page as HTML.

        Raises:
            ConfigurationError: The extra is not installed.
        """
        try:
            from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only the extra has it
        except ImportError:
            raise extra_missing() from None
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(page=self)


def write_reports(
    document: BaseModel, make_page: Callable[[], ReportPage], *, json_path: Path | None, out: Path | None
) -> None:
    """Write a report as JSON and as a page, each to its file if the user named one. ``-`` is standard output.

    Raises:
        ConfigurationError: A file can't be written, or the extra is not installed.
    """
    if json_path is not None:
        write_text(json_path, document.model_dump_json(indent=2, by_alias=True) + "\n")
    if out is not None:
        write_text(out, make_page().html())


def extra_missing() -> ConfigurationError:
    """Return the error for a missing extra."""
    return ConfigurationError("This command needs an extra: run `pip install 'moderation-worker[evaluate]'`.")
