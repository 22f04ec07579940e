"""What the trial run shows: a panel that changes in a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BARS = " ▁▂▃▄▅▆▇█"
ALERTS_SHOWN = 5
CATEGORIES_SHOWN = 2
LINE_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alert, for people.

    Attributes:
        categories: Name and score, greatest first.
        text: Of the sample message.
    """

    categories: Sequence[tuple[str, float]]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where the trial run stands.

    Attributes:
        now_ms: Since the first message.
        total: Messages to feed.
        fed: Messages that Kafka has.
        verdicts: Committed, as for the next two.
        alerts: As above.
        dead_letters: As above.
        per_second: Messages judged in the last second.
        pulse: Messages judged in each of the latest quarters of a second.
        owners: Each worker's partitions; None: it was killed.
        alarms: The latest alerts, newest first.
    """

    now_ms: int
    total: int
    fed: int
    verdicts: int
    alerts: int
    dead_letters: int
    per_second: int
    pulse: Sequence[int]
    owners: Mapping[str, Sequence[int] | None]
    alarms: Sequence[Alarm]


class Screen:
    """Where to show scenes, and where to say what stays."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._shown_ms = 0

    def say(self, sentence: str, style: str | None = None) -> None:
        """A line that stays; above the panel, if there is one."""
        self._console.print(
            sentence, style=style, markup=False, highlight=False, soft_wrap=not self._console.is_terminal
        )

    def show(self, scene: Scene) -> None:
        """The panel anew, or a line if the last one is a second old."""
        if self._live is not None or scene.now_ms // LINE_MS > self._shown_ms // LINE_MS:
            self.show_last(scene)

    def show_last(self, scene: Scene) -> None:
        """The same, whenever the last one was."""
        self._shown_ms = scene.now_ms
        if self._live is None:
            self.say(line(scene))
        else:
            self._live.update(panel(scene), refresh=True)


@contextmanager
def screen(console: Console) -> Iterator[Screen]:
    """A panel in a terminal that can redraw one, else lines."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield Screen(console, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Screen(console, live)


def line(scene: Scene) -> str:
    """A scene in one line."""
    counts = (
        f"{seconds(scene.now_ms)}  in {scene.fed}, verdicts {scene.verdicts}, alerts {scene.alerts}, dead letters "
        f"{scene.dead_letters}, {scene.per_second}/s"
    )
    return counts + "".join(f"; last alert: {_categories(alarm)}" for alarm in scene.alarms[:1])


def panel(scene: Scene) -> RenderableType:
    """A scene in a dozen lines, at 80 columns and more."""
    figures = Table.grid(padding=(0, 2))
    figures.add_column(style="dim", no_wrap=True)
    figures.add_column(no_wrap=True)
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total=scene.total, completed=scene.fed, width=40), f"{scene.fed} of {scene.total}")
    figures.add_row("messages", bar)
    figures.add_row("judged", f"{sparkline(scene.pulse)} {scene.per_second} a second")
    figures.add_row("committed", _counts(scene))
    for name, partitions in scene.owners.items():
        figures.add_row(name, _ownership(partitions))
    alarms = Table.grid(padding=(0, 2), expand=True)
    alarms.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    alarms.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    for index in range(ALERTS_SHOWN):
        shown = scene.alarms[index : index + 1]
        alarms.add_row(*(Text(part) for alarm in shown for part in (_categories(alarm), _harmless(alarm.text))))
    heading = Text("latest alerts", style="dim")
    title = f"live, {seconds(scene.now_ms).strip()}"
    return Panel(Group(figures, "", heading, alarms), title=title, title_align="left", border_style="dim")


def sparkline(pulse: Sequence[int]) -> str:
    """Bars of which the highest is the greatest value; any value but 0 can be seen."""
    top = max(pulse, default=0)
    return "".join(BARS[-(-value * (len(BARS) - 1) // top) if top else 0] for value in pulse)


def seconds(ms: int) -> str:
    """For the margin."""
    return f"{ms / 1000:5.1f} s"


def listed(partitions: Sequence[int]) -> str:
    """As people write it; a dash for none."""
    return ", ".join(map(str, partitions)) or "-"


def _counts(scene: Scene) -> Text:
    return Text.assemble(
        "verdicts ",
        (str(scene.verdicts), "bold"),
        "  alerts ",
        (str(scene.alerts), "bold yellow"),
        "  dead letters ",
        (str(scene.dead_letters), "bold"),
    )


def _ownership(partitions: Sequence[int] | None) -> Text:
    if partitions is None:
        return Text("killed", style="bold red")
    return Text(f"judges partitions {listed(partitions)}", style="green")


def _harmless(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def _categories(alarm: Alarm) -> str:
    named = [f"{name} {score:.2f}" for name, score in alarm.categories[:CATEGORIES_SHOWN]]
    more = len(alarm.categories) - len(named)
    return ", ".join([*named, *([f"{more} more"] if more else [])])
