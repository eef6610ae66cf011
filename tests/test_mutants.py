"""`make mutants` takes minutes; that its list keeps up with the code is seen at once."""

from pathlib import Path

import pytest
from mutants import MUTANTS, Mutant

TESTS = Path(__file__).parent


def test_no_two_mutants_have_one_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_be_planted_and_the_tests_that_catch_it_are_there(mutant: Mutant) -> None:
    assert mutant.is_found()
    for test in mutant.tests:
        file, name = test.split("::")
        assert f"def {name}(" in (TESTS / file).read_text("utf-8")
