"""Items of a check: each good, at fault, doubtful or skipped, and told at once."""

from collections.abc import Callable, Sequence
from enum import Enum

from rich.console import Console
from rich.text import Text

from worker.errors import ExitCode
from worker.logs import escaped, escaped_lines


class Mark(Enum):
    """What became of an item: the sign that is shown, and its style on a terminal."""

    GOOD = ("✓", "green")
    FAULT = ("✗", "bold red")
    DOUBTFUL = ("!", "yellow")
    SKIPPED = ("-", "yellow")


class Wrong(Exception):  # noqa: N818 - what is checked is at fault, not the program
    """An item's fault.

    Attributes:
        what: One sentence, and lines of detail.
        mend: The command or the settings that mend it; empty when ``what`` says it.
    """

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what, mend)
        self.what = what
        self.mend = mend


class Doubtful(Wrong):
    """An item that is good in most cases: it changes no exit code, and stands in nobody's way."""


class Postponed(Exception):  # noqa: N818 - not an error
    """An item can't be told by itself; a later one tells. It stands in nobody's way."""


class Report:
    """Runs items in order and prints each as soon as it is known.

    Attributes:
        exit_code: That of the first fault.
    """

    def __init__(self, console: Console) -> None:
        self.exit_code = ExitCode.DONE
        self._console = console
        self._passed: set[str] = set()
        self._blame: dict[str, str] = {}  # which fault each skipped item waits for

    def item(self, name: str, look: Callable[[], str], *, fault: ExitCode, needs: Sequence[str] = ()) -> str:
        """Looks at one thing.

        Args:
            name: Unique.
            look: Gives what to say when all is well; raises Wrong, Doubtful or Postponed.
            fault: The exit code if it is at fault.
            needs: Items without which it can't be looked at.

        Returns:
            The name, for others to need.
        """
        if missing := [need for need in needs if need not in self._passed]:
            self._blame[name] = self._blame[missing[0]]
            self._print(Mark.SKIPPED, name, f"skipped, because of: {self._blame[name]}")
            return name
        try:
            self._print(Mark.GOOD, name, look())
        except Postponed as reason:
            self._print(Mark.SKIPPED, name, str(reason))
        except Doubtful as doubt:
            self._print(Mark.DOUBTFUL, name, doubt.what, doubt.mend)
        except Wrong as wrong:
            self._print(Mark.FAULT, name, wrong.what, wrong.mend)
            self.exit_code = self.exit_code or fault
            self._blame[name] = name
            return name
        self._passed.add(name)
        return name

    def _print(self, mark: Mark, name: str, said: str, mend: str = "") -> None:
        sign, style = mark.value
        said = escaped_lines(said).replace("\n", "\n    ")  # brokers' sentences and names are among it
        line = Text().append(sign, style=style).append(f" {escaped(name)}: ").append(said)
        if mend:
            line.append("\n    -> ").append(escaped_lines(mend).replace("\n", "\n    -> "), style="cyan")
        self._console.print(line, soft_wrap=True)
