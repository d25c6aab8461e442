"""The emulator with a fault put in: some directed case in the real Lava tells it from the emulator."""

import pytest

from tests.conformance.mutants.rules import (
    FILES,
    MUTATIONS,
    Mutation,
    emulator_in_python,
    equivalent,
    first_difference,
)
from tests.conformance.mutants.source import every_mutation, survives
from tests.support.real_lava import Answers

pytestmark = [pytest.mark.mutants, pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]


def test_the_emulator_in_plain_python_is_the_emulator(core: Answers) -> None:
    """Without a mutation nothing differs, so what a mutation changes is its own doing."""
    assert first_difference(emulator_in_python({}), *core) is None


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_every_rule_is_held_by_some_directed_case(mutation: Mutation, core: Answers) -> None:
    [tree] = mutation.trees()
    modules = emulator_in_python({mutation.file: tree})
    assert first_difference(modules, *core) is not None, "the mutation survived"


@pytest.mark.slow
def test_what_is_listed_as_equivalent_is_a_change_of_the_source() -> None:
    known = equivalent()
    assert set(known) <= {mutant.text for file in FILES for mutant in every_mutation(file)}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_change_of_the_source_is_noticed_or_computes_the_same(file: str, core: Answers) -> None:
    """Beyond the rules that somebody thought of: each operator, number, condition and statement."""
    known = {text for text, change in equivalent().items() if change.file == file}
    changes = list(every_mutation(file))
    assert len(changes) > 20
    assert {mutant.text for mutant in changes if survives(mutant, *core)} == known
