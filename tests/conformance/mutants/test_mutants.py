"""The emulator with a fault put in: some directed case in the real Lava tells it from the emulator."""

import pytest

from tests.conformance.mutants.rules import FILES, MUTATIONS, Mutation, first_difference, twin_in_python
from tests.conformance.mutants.source import equivalent, mutants, survives
from tests.support.real_lava import Answers

pytestmark = [pytest.mark.mutants, pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]


def test_the_twin_in_plain_python_is_the_twin(core: Answers) -> None:
    """Without a mutation nothing differs, so what a mutation changes is its own doing."""
    assert first_difference(twin_in_python(None), *core) is None


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_every_rule_is_held_by_some_directed_case(mutation: Mutation, core: Answers) -> None:
    assert first_difference(twin_in_python(mutation), *core) is not None, "the mutation survived"


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_change_of_the_source_is_noticed_or_computes_the_same(file: str, core: Answers) -> None:
    """Beyond the rules that somebody thought of: each operator, number, condition and statement."""
    known = equivalent()
    changes = list(mutants(file))
    assert len(changes) > 20
    alive = {mutant.key for mutant in changes if survives(mutant, *core)}
    assert alive == {key for key in known if key[0] == file}
