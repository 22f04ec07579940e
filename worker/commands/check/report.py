"""Items of a check: each is good, wrong, doubtful or skipped, and is printed when its result is known."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from enum import Enum

from rich.console import Console
from rich.text import Text

from worker.errors import ExitCode
from worker.logs import escaped, escaped_lines


class Mark(Enum):
    """The result of an item: the sign that is printed, and its style on a terminal."""

    GOOD = ("✓", "green")
    FAULT = ("✗", "bold red")
    DOUBTFUL = ("!", "yellow")
    SKIPPED = ("-", "yellow")


class Wrong(Exception):  # noqa: N818 - what is checked is wrong, not the program
    """The item is wrong.

    Attributes:
        what: One sentence, and lines of detail.
        remedy: The command or the settings that correct it; empty when ``what`` says it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy


class Doubtful(Wrong):
    """The item is good in most cases. It changes no exit code, and the items that need it are checked."""


class Postponed(Exception):  # noqa: N818 - not an error
    """A later item decides. The items that need this one are checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """The result of one item.

    Attributes:
        mark: Good, wrong, doubtful or skipped.
        text: One sentence, and lines of detail.
        remedy: What corrects it; empty if there is nothing to correct.
        cause: The name of the wrong item because of which items are skipped; empty if there is none.
    """

    mark: Mark
    text: str
    remedy: str = ""
    cause: str = ""


class Report:
    """Prints the items in their order, although threads finish them in any order.

    Attributes:
        exit_code: The exit code of the first item that is wrong.
    """

    def __init__(self, console: Console) -> None:
        self.exit_code = ExitCode.DONE
        self._console = console
        self._results: dict[str, Future[ItemResult]] = {}
        self._faults: dict[str, ExitCode] = {}

    def check(self, name: str, check: Callable[[], str], *, fault: ExitCode, needs: Sequence[str] = ()) -> str:
        """Check one item on this thread and print it. The arguments are those of ``start``."""
        done: Future[ItemResult] = Future()
        done.set_result(_check(name, check, [self._results[need] for need in needs]))
        self._faults[name], self._results[name] = fault, done
        self.print()
        return name

    def passed(self, name: str) -> bool:
        """Return whether the item is neither wrong nor skipped because of another; wait until it is checked."""
        return not self._results[name].result().cause

    def start(
        self, lane: Executor, name: str, check: Callable[[], str], *, fault: ExitCode, needs: Sequence[str] = ()
    ) -> str:
        """Start to check one item.

        An item waits in its lane for the items that it needs. They were started before it, so the first item that
        is not finished never waits for a later one. So no lane can block another lane for ever.

        Args:
            lane: The thread that checks it. Items of a lane with one thread are checked one after another.
            name: A unique name.
            check: Returns the text of a good item; raises Wrong, Doubtful or Postponed.
            fault: The exit code if the item is wrong.
            needs: Items without which this one can't be checked. They were started before.

        Returns:
            The name, for the ``needs`` of others.
        """
        needed = [self._results[need] for need in needs]
        self._faults[name] = fault
        self._results[name] = lane.submit(_check, name, check, needed)
        return name

    def print(self) -> None:
        """Print each item that was started, in the order of the starts, as soon as its result is there."""
        for name, result in self._results.items():
            if name in self._faults:
                self._print(name, result.result())
                fault = self._faults.pop(name)
                if result.result().mark is Mark.FAULT:
                    self.exit_code = self.exit_code or fault

    def _print(self, name: str, result: ItemResult) -> None:
        sign, style = result.mark.value
        text = escaped_lines(result.text).replace(
            "\n", "\n    "
        )  # the text may contain sentences and names from the brokers
        line = Text().append(sign, style=style).append(f" {escaped(name)}: ").append(text)
        if result.remedy:
            line.append("\n    -> ").append(escaped_lines(result.remedy).replace("\n", "\n    -> "), style="cyan")
        self._console.print(line, soft_wrap=True)


def _check(name: str, check: Callable[[], str], needed: Sequence[Future[ItemResult]]) -> ItemResult:
    if causes := [need.result().cause for need in needed if need.result().cause]:
        return ItemResult(mark=Mark.SKIPPED, text=f"skipped, because of: {causes[0]}", cause=causes[0])
    try:
        return ItemResult(mark=Mark.GOOD, text=check())
    except Postponed as reason:
        return ItemResult(mark=Mark.SKIPPED, text=str(reason))
    except Doubtful as doubt:
        return ItemResult(mark=Mark.DOUBTFUL, text=doubt.what, remedy=doubt.remedy)
    except Wrong as wrong:
        return ItemResult(mark=Mark.FAULT, text=wrong.what, remedy=wrong.remedy, cause=name)
