"""The emulator against the real Lava: spikes, u and v of every population in every step."""

import pytest
from directed import directed_cases
from every_mutation import equivalent, mutants, survives
from mutations import FILES, MUTATIONS, Mutation, first_difference, twin_in_python
from random_networks import random_case
from real_lava import Case, differences, run_in_real_lava

from nsc_deploy.exporters.lava.emulator.simulate import LayerTrace, simulate

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]

NETWORKS = 300
CHUNK = 60

Answers = tuple[list[Case], list[tuple[LayerTrace, ...]]]


@pytest.fixture(scope="module")
def core(lava_environment) -> Answers:
    cases = directed_cases(core=True)
    return cases, run_in_real_lava(cases, group=12)


def test_directed_edges(core: Answers) -> None:
    assert differences(*core) == []


def test_some_random_networks(lava_environment) -> None:
    cases = [random_case(seed) for seed in range(NETWORKS, NETWORKS + 8)]
    assert differences(cases, run_in_real_lava(cases)) == []


@pytest.mark.slow
def test_all_directed_edges(lava_environment) -> None:
    cases = directed_cases()
    assert differences(cases, run_in_real_lava(cases, group=12)) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, NETWORKS, CHUNK))
def test_random_networks(first: int, lava_environment) -> None:
    cases = [random_case(seed) for seed in range(first, first + CHUNK)]
    assert differences(cases, run_in_real_lava(cases, group=6)) == []


def test_random_networks_are_not_silent() -> None:
    """Networks that never spike, or always, would agree about little."""
    spiking = 0
    for seed in range(60):
        case = random_case(seed)
        rates = [trace.spikes.mean() for trace in simulate(case.network, case.messages[:, None], threads=1)]
        spiking += min(rates) > 0 and max(rates) < 1
    assert spiking > 20


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
