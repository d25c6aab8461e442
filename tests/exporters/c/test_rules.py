"""What C cannot hold is refused by node, reason and hint, and every primitive has a word."""

import numpy as np

from nsc_deploy.exporters.c.rules import verdicts
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.passes.verdict import Status


def refusal(build: GraphBuilder) -> tuple[str, str]:
    """Node and reason of the one refusal."""
    (one,) = [one for one in verdicts(assemble(build.build())) if one.status is Status.REFUSED]
    assert one.hint
    return one.node, one.reason


def test_real_values_do_not_enter() -> None:
    build = GraphBuilder(0.001)
    build.input(2, Signal.REAL)
    build.linear("w", np.ones((2, 2)))
    build.threshold("t", 0.5, 2)
    build.output(2)
    node, reason = refusal(build)
    assert node == "input"
    assert "real values" in reason
