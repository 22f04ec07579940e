"""The pages of the documentation, and the fenced blocks in them."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
COMMANDS = {"sh", "bash", "shell", "console"}

_FENCE = re.compile(
    r"^(?:[ ]*<!--[ ]not[ ]run[ ]here:[ ](?P<reason>[^\n]*?)[ ]*-->\n)?"
    r"(?P<indent>[ ]*)```(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A fenced block.

    Attributes:
        place: Page and line of the fence.
        language: The word after the backticks.
        code: The code, without its indentation.
        not_run_because: The reason in the comment above it; None: there is no such comment.
    """

    place: str
    language: str
    code: str
    not_run_because: str | None

    @property
    def holds_commands(self) -> bool:
        """Whether a reader would paste it into a shell."""
        return self.language in COMMANDS


def fences(page: Path) -> list[Fence]:
    """Those of a page, in order."""
    text = page.read_text()
    return [
        Fence(
            place=f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start('indent')) + 1}",
            language=found["language"],
            code=textwrap.dedent(found["code"]),
            not_run_because=found["reason"],
        )
        for found in _FENCE.finditer(text)
    ]
