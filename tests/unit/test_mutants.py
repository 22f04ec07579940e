"""The table of deliberate faults fits the present code."""

import pytest

from tests.mutants import MUTANTS, ROOT, SUITES, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_the_text_that_a_fault_replaces_occurs_once_and_the_result_is_python(mutant: Mutant) -> None:
    compile(mutant.applied_to(ROOT), mutant.file, "exec")


def test_a_fault_uses_every_suite_and_the_files_of_the_suites_exist() -> None:
    assert set(SUITES) == {suite for mutant in MUTANTS for suite in mutant.suites}
    assert all((ROOT / file).is_file() for file, *_ in SUITES.values())
