"""The docs say what the code does."""

import re
from pathlib import Path

import pytest

from schemas.dead_letter import REASONS
from worker.settings import Settings
from worker.settings.groups import GROUPS, VARIABLES, shown

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "docs/contract.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def setting_row(variable: str) -> str:
    group, name = VARIABLES[variable]
    value = Settings().value(variable)
    # What is computed, or must be given, has no default of its own.
    default = "" if value is None or value in ("", 0) else f"`{shown(value)}`"
    return f"| `{variable}` | {default} | {GROUPS[group].model_fields[name].description} |"


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_documented_with_its_default_and_its_sentence(variable: str) -> None:
    assert setting_row(variable) in CONTRACT


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_a_dead_letter_is_documented(reason: str) -> None:
    assert f"| `{reason}` | {REASONS[reason]} |" in CONTRACT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
