"""The docs say what the code says: generated pages, names, links, commands."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.pages import COMMANDS, NAMES, PAGES, ROOT, fences
from worker import cli
from worker.settings.groups import VARIABLES
from worker.settings.load import SECRETS_DIR

MADE: dict[str, Any] = runpy.run_path(str(ROOT / "deploy" / "docs.py"))
GENERATED: dict[str, str] = MADE["pages"]()
EXAMPLES: dict[str, Any] = MADE["examples"]()

# What these lines begin with belongs into a block of commands, where a test runs it.
PROGRAMS = r"(?:\$ )?(?:moderation-worker|make|docker|kubectl|helm|python3? -m|pip|kafka-[\w-]+\.sh)\s"


@pytest.mark.parametrize("path", GENERATED)
def test_a_generated_page_is_what_its_script_writes(path: str) -> None:
    assert (ROOT / path).read_text() == GENERATED[path], "run: python deploy/docs.py"


def test_every_setting_is_documented() -> None:
    assert all(f"| `{variable}` |" in GENERATED["docs/configuration.md"] for variable in VARIABLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_message_s_example_is_what_its_schema_says(name: str) -> None:
    schema = runpy.run_path(str(ROOT / "tests/unit/test_json_schemas.py"))["schema"](name)
    Draft202012Validator(schema).validate(EXAMPLES[name])


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=[*NAMES, "CHANGELOG.md"])
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_stand_where_a_test_runs_them(page: Path) -> None:
    for fence in fences(page):
        assert fence.language, f"{fence.place}: name its language; commands are {sorted(COMMANDS)}"
        assert fence.not_run_because != "", f"{fence.place}: say why it is not run here"
        hidden = not fence.holds_commands and re.search(f"^{PROGRAMS}", fence.code, re.MULTILINE)
        assert not hidden, f"{fence.place}: commands stand in a block of {sorted(COMMANDS)}"
    assert page.read_text().count("```") == 2 * len(fences(page))


def code_of(page: Path) -> str:
    """The page without comments to its readers: inline code and blocks alone, a line each."""
    text = page.read_text()
    return "\n".join([*re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text), *(fence.code for fence in fences(page))])


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_variable_is_a_setting(page: Path) -> None:
    named = set(re.findall(r"\bWORKER_[A-Z_]*[A-Z](?!\w|\*|…)", page.read_text()))
    assert named <= {*VARIABLES, SECRETS_DIR}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_target_of_make_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|; |&& )make ((?:[a-z-]+ ?)+)", code_of(page), re.MULTILINE)
    assert {target for words in named for target in words.split()} <= targets


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_option_of_ours_is_one(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in re.findall(r"\b(?:moderation-worker|python -m worker) ([a-z](?:[\w.-]+ ?)+)", code_of(page)):
        command = re.match(
            r"(topics create|model fetch|labels join|shape (?:list|show|try|guess)|policy (?:check|show|try)|"
            r"[\w-]+)",
            words,
        )
        assert command
        with pytest.raises(SystemExit) as ended:
            cli.main([*command[0].split(), "--help"])
        told = capsys.readouterr()
        assert ended.value.code == 0, f"moderation-worker {words}: {told.err}"
        assert [option for option in re.findall(r"--[\w-]+", words) if option not in told.out] == []
