"""The table of deliberate faults fits the present code."""

import re
from collections.abc import Sequence

import pytest

from tests.mutants import MUTANTS, ROOT, SUITES, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_the_text_that_a_fault_replaces_occurs_once_and_the_result_is_python(mutant: Mutant) -> None:
    compile(mutant.applied_to(ROOT), mutant.file, "exec")


def test_a_fault_uses_every_suite_and_the_files_of_the_suites_exist() -> None:
    assert set(SUITES) == {suite for mutant in MUTANTS for suite in mutant.suites}
    assert all((ROOT / file).is_file() for file, *_ in SUITES.values())


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
def test_the_words_that_select_tests_occur_in_the_tests(suite: Sequence[str]) -> None:
    files = [argument for argument in suite if argument.endswith(".py")]
    words = re.findall(r"[\w-]+", suite[suite.index("-k") + 1]) if "-k" in suite else []
    shared = [*ROOT.glob("tests/[!m]*.py"), ROOT / "tests" / "contract" / "conftest.py"]  # parameters of fixtures
    source = "".join(path.read_text() for path in [*(ROOT / file for file in files), *shared])
    assert [word for word in words if word not in {"and", "or", "not"} and word not in source] == []
