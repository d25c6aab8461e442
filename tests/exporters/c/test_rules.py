"""What C cannot hold is refused by node, reason and hint."""

from collections.abc import Callable
from dataclasses import replace

import nir
import numpy as np
import pytest

from nsc_deploy.exporters.c.rules import verdicts
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Reset, Signal
from nsc_deploy.passes.verdict import Status
from tests.support.lava import receiver


def chain(*nodes: tuple[str, nir.NIRNode], signal: Signal = Signal.EVENTS, inputs: int = 2) -> Network:
    build = GraphBuilder(0.01)
    build.input(inputs, signal)
    for name, node in nodes:
        build.add(name, node)
    build.output(2)
    return assemble(build.build())


def cuba(threshold: float = 1.0) -> nir.CubaLIF:
    full = np.ones(2)
    return nir.CubaLIF(full * 0.05, full * 0.05, full, full * 0, full * threshold, full * 0, w_in=full)


def lif(threshold: float = 1.0, floor: float = 0.0, tau: float = 0.05) -> nir.LIF:
    full = np.ones(2)
    return nir.LIF(full * tau, full, full * 0, full * threshold, full * floor)


WEIGHTS = ("w", nir.Linear(np.ones((2, 2), np.float32)))
BIASED = ("w", nir.Affine(np.ones((2, 2), np.float32), np.ones(2, np.float32)))
LATE = ("d", nir.Delay(np.array([0.0, 0.02])))
LI = nir.LI(np.full(2, 0.05), np.ones(2), np.zeros(2))


def written_out() -> Network:
    """Neurons that reset by subtraction, as nodes write them out, and their potentials at the end."""
    build = GraphBuilder(0.01)
    build.input(2, Signal.EVENTS)
    build.linear("w", np.ones((2, 2)))
    build.add("v", nir.I(r=np.full(2, 100.0)))
    build.threshold("n", 1.0, (2,))
    build.add("back", nir.Scale(np.full(2, -1.0, np.float32)))
    build.connect("back", "v")
    build.output(2, after="v")
    return assemble(build.build())


CASES: dict[str, tuple[Callable[[], Network], str, str]] = {
    "real values": (lambda: chain(WEIGHTS, ("n", lif()), signal=Signal.REAL), "input", "real values"),
    "an integrator in the middle": (
        lambda: chain(WEIGHTS, ("i", LI), ("v", nir.Linear(np.ones((2, 2), np.float32))), ("n", lif())),
        "i",
        "gives values to other nodes",
    ),
    "a threshold below zero that is taken off": (
        lambda: replace(chain(WEIGHTS, ("n", lif(-0.5))), reset=Reset.SUBTRACT),
        "n",
        "takes off a threshold below zero",
    ),
    "two resets": (
        lambda: replace(chain(WEIGHTS, ("n", lif(floor=0.1))), reset=Reset.SUBTRACT),
        "n",
        "exclude each other",
    ),
    "a decay that is lost": (lambda: chain(WEIGHTS, ("n", lif(tau=1000.0))), "n", "decays by less than"),
    "a long delay": (
        lambda: chain(("d", nir.Delay(np.full(2, 0.7))), WEIGHTS, ("n", lif())),
        "d",
        "delays by 70 steps",
    ),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_refusals(case: str) -> None:
    make, node, reason = CASES[case]
    (one,) = [one for one in verdicts(make()) if one.status is Status.REFUSED]
    assert one.node == node
    assert reason in one.reason
    assert one.hint
    assert "Lava" not in one.reason + one.hint
    assert "Loihi" not in one.reason + one.hint


@pytest.mark.parametrize(
    "network",
    [
        chain(WEIGHTS, ("n", lif())),
        chain(WEIGHTS, ("n", lif(floor=-0.5))),
        replace(chain(WEIGHTS, ("n", lif())), reset=Reset.SUBTRACT),
        chain(WEIGHTS, ("n", lif(-0.5))),
        chain(WEIGHTS, ("n", cuba())),
        chain(BIASED, ("n", cuba())),
        chain(BIASED, LATE, ("n", lif())),
        chain(BIASED, ("i", LI)),
        chain(BIASED),
        chain(BIASED, LATE),
        written_out(),
        assemble(receiver()),
    ],
)
def test_what_is_taken(network: Network) -> None:
    assert all(one.status is not Status.REFUSED for one in verdicts(network))
