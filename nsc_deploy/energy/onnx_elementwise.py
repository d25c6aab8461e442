"""What ONNX operators cost that work element by element."""

from collections.abc import Mapping
from math import prod

from nsc_deploy.energy.counting.onnx.operators import Cost, Rule, Shape, Site
from nsc_deploy.energy.counting.operations import Kind

FUNCTIONS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Celu", "Selu", "Gelu", "Mish", "Swish"}
    | {"Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign", "Clip", "Shrink", "Mod"}
    | {"Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Abs", "Neg", "Sign", "Floor", "Ceil", "Round"}
    | {"Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh"}
)


def each(kind: Kind) -> Rule:
    """One operation for each element of the output."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        return Cost({kind: prod(shapes[site.node.output[0]])})

    return rule


def between_inputs(kind: Kind) -> Rule:
    """One operation less than there are inputs, for each element of the output."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        return Cost({kind: prod(shapes[site.node.output[0]]) * (len(site.node.input) - 1)})

    return rule


def mean(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """A sum of the inputs and a product with 1 / their number."""
    out, inputs = prod(shapes[site.node.output[0]]), len(site.node.input)
    return Cost({Kind.ADDITION: out * (inputs - 1), Kind.PRODUCT: out * (inputs > 1)})


def power(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """A square is one product and a cube two; any other power is a function."""
    out = prod(shapes[site.node.output[0]])
    exponent = site.constant(1)
    known = None if exponent is None or exponent.size != 1 else float(exponent.reshape(()))
    if known in {2.0, 3.0}:
        return Cost({Kind.PRODUCT: out * (2 if known == 3 else 1)})
    return Cost({Kind.ACTIVATION: out})


def batch_normalization(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """One factor and one summand for each element: mean, variance, scale and bias are folded."""
    out = prod(shapes[site.node.output[0]])
    return Cost({Kind.PRODUCT: out, Kind.ADDITION: out})
