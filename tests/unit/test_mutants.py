"""The table of deliberate faults fits the code as it is."""

import pytest

from tests.mutants import MUTANTS, ROOT, SUITES, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_what_a_fault_replaces_stands_there_once_and_the_fault_is_python(mutant: Mutant) -> None:
    compile(mutant.applied_to(ROOT), mutant.file, "exec")


def test_every_suite_is_asked_and_where_it_stands_is_right() -> None:
    assert set(SUITES) == {suite for mutant in MUTANTS for suite in mutant.suites}
    assert all((ROOT / file).is_file() for file, *_ in SUITES.values())
