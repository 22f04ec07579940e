"""What the demo shows: a panel that changes in a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from worker.logs import escaped

BARS = " ▁▂▃▄▅▆▇█"
ALERTS_SHOWN = 5
CATEGORIES_SHOWN = 2
LINE_EVERY_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAlert:
    """An alert as the demo shows it.

    Attributes:
        categories: Names and scores, the highest score first.
        text: The text of the sample message.
        level: The highest level that the message reaches.
        counted: Number of messages that the alert sums up; None: the alert is about one message.
    """

    categories: Sequence[tuple[str, float]]
    text: str
    level: str
    counted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoStatus:
    """The state of the demo at a moment.

    Attributes:
        now_ms: Milliseconds since the first message.
        total: Number of messages to feed.
        fed: Number of messages that Kafka has.
        verdicts: Number of committed verdicts.
        alerts: Number of committed alerts.
        dead_letters: Number of committed dead letters.
        per_second: Messages judged in the last second.
        bars: Messages judged in each of the latest quarters of a second.
        levels: Flagged messages by level.
        exempt: Flagged messages that an exemption keeps from raising an alert.
        counted: Messages that raised no alert of their own, and are in the count of one.
        owners: The partitions of each worker; None: the worker was killed.
        latest_alerts: The latest alerts, the newest first.
    """

    now_ms: int
    total: int
    fed: int
    verdicts: int
    alerts: int
    dead_letters: int
    per_second: int
    bars: Sequence[int]
    levels: Mapping[str, int]
    exempt: int
    counted: int
    owners: Mapping[str, Sequence[int] | None]
    latest_alerts: Sequence[ShownAlert]


class Screen:
    """Shows the state, and prints lines that stay.

    Args:
        console: The console.
        live: The panel; None: the console can't redraw.
    """

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._shown_ms = 0

    def say(self, sentence: str, style: str | None = None) -> None:
        """Print a line that stays, above the panel if there is one."""
        self._console.print(
            sentence, style=style, markup=False, highlight=False, soft_wrap=not self._console.is_terminal
        )

    def show(self, status: DemoStatus) -> None:
        """Redraw the panel; without a panel print one line a second."""
        if self._live is not None or status.now_ms // LINE_EVERY_MS > self._shown_ms // LINE_EVERY_MS:
            self.show_last(status)

    def show_last(self, status: DemoStatus) -> None:
        """Redraw the panel or print a line, however recent the last one is."""
        self._shown_ms = status.now_ms
        if self._live is None:
            self.say(line(status))
        else:
            self._live.update(panel(status), refresh=True)


@contextmanager
def screen(console: Console) -> Iterator[Screen]:
    """Yield a screen: a panel in a terminal that can redraw, lines elsewhere."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield Screen(console, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Screen(console, live)


def line(status: DemoStatus) -> str:
    """Return the state in one line."""
    counts = (
        f"{seconds(status.now_ms)}  in {status.fed}, verdicts {status.verdicts}, alerts {status.alerts}, "
        f"dead letters {status.dead_letters}, {status.per_second}/s"
    )
    return counts + "".join(f"; last alert: {_categories(alert)}" for alert in status.latest_alerts[:1])


def panel(status: DemoStatus) -> RenderableType:
    """Return the state in a dozen lines, for 80 columns and more."""
    figures = Table.grid(padding=(0, 2))
    figures.add_column(style="dim", no_wrap=True)
    figures.add_column(no_wrap=True)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=status.total, completed=status.fed, width=40), f"{status.fed} of {status.total}")
    figures.add_row("messages", bar)
    figures.add_row("judged", f"{sparkline(status.bars)} {status.per_second} a second")
    figures.add_row("committed", _counts(status))
    figures.add_row("policy", _decisions(status))
    for name, partitions in status.owners.items():
        figures.add_row(name, _ownership(partitions))
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    for index in range(ALERTS_SHOWN):
        shown = status.latest_alerts[index : index + 1]
        table.add_row(*(Text(part) for alert in shown for part in (_categories(alert), escaped(alert.text))))
    heading = Text("latest alerts", style="dim")
    title = f"live, {seconds(status.now_ms).strip()}"
    return Panel(Group(figures, "", heading, table), title=title, title_align="left", border_style="dim")


def sparkline(bars: Sequence[int]) -> str:
    """Return bars, the highest for the greatest value. Every value except 0 is visible."""
    top = max(bars, default=0)
    return "".join(BARS[-(-value * (len(BARS) - 1) // top) if top else 0] for value in bars)


def seconds(ms: int) -> str:
    """Return a time for the left margin."""
    return f"{ms / 1000:5.1f} s"


def listed(partitions: Sequence[int]) -> str:
    """Return numbers with commas, or a dash for none."""
    return ", ".join(map(str, partitions)) or "-"


def _counts(status: DemoStatus) -> Text:
    return Text.assemble(
        "verdicts ",
        (str(status.verdicts), "bold"),
        "  alerts ",
        (str(status.alerts), "bold yellow"),
        "  dead letters ",
        (str(status.dead_letters), "bold"),
    )


def _decisions(status: DemoStatus) -> str:
    levels = "".join(f"{level} {count}  " for level, count in status.levels.items())
    return f"{levels}exempt {status.exempt}  counted {status.counted}"


def _ownership(partitions: Sequence[int] | None) -> Text:
    if partitions is None:
        return Text("killed", style="bold red")
    return Text(f"judges partitions {listed(partitions)}", style="green")


def _categories(alert: ShownAlert) -> str:
    named = [f"{name} {score:.2f}" for name, score in alert.categories[:CATEGORIES_SHOWN]]
    more = len(alert.categories) - len(named)
    scores = ", ".join([*named, *([f"{more} more"] if more else [])])
    return f"{scores} ({alert.level})" + (f" x {alert.counted}" if alert.counted is not None else "")
