"""The emulator against the real Lava: spikes, u and v of every population in every step."""

import pytest

from nsc_deploy.exporters.lava.emulator.simulate import simulate
from tests.support.directed_networks import directed_cases
from tests.support.random_networks import random_case
from tests.support.real_lava import Answers, differences, run_in_real_lava

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]

NETWORKS = 300
CHUNK = 60


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
