"""Which operator computes which NIR primitive."""

from collections.abc import Mapping

from nsc_deploy.graphs.network import Node
from nsc_deploy.graphs.operators import linear, neurons, spatial
from nsc_deploy.graphs.operators.base import Builder, Operator, Real, Setting
from nsc_deploy.graphs.operators.linear import Delay


class Pass:
    """Output: what comes in."""

    def __init__(self, node: Node, setting: Setting) -> None:
        pass

    def run(self, values: Real) -> Real:
        """[T, N, *shape], unchanged."""
        return values


BUILDERS: Mapping[str, Builder] = {
    "Input": Pass,
    "Output": Pass,
    "Linear": linear.Dense,
    "Affine": linear.Dense,
    "Scale": linear.Scale,
    "Conv1d": spatial.Convolution,
    "Conv2d": spatial.Convolution,
    "SumPool2d": spatial.Pool,
    "AvgPool2d": spatial.Pool,
    "Flatten": spatial.Reshape,
    "Delay": Delay,
    "Threshold": neurons.Threshold,
    "LIF": neurons.lif,
    "IF": neurons.integrate_and_fire,
    "CubaLIF": neurons.cuba_lif,
    "LI": neurons.li,
    "CubaLI": neurons.cuba_li,
    "I": neurons.integrator,
}


def build_operator(node: Node, setting: Setting) -> Operator:
    """The operator of a node."""
    return BUILDERS[node.primitive](node, setting)
