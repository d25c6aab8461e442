"""What one ONNX operator costs: a rule for each, from the shapes it meets when the graph runs.

A rule returns the cost of one execution as if every value were real. Where an input is proven binary,
`onnx_products.accumulates` counts the accumulates that really happen; the caller then leaves the
multiply-accumulates out.
"""

from collections.abc import Mapping

from nsc_deploy.energy.counting.onnx.operators import Cost, Rule, Shape, Site
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.energy.onnx_binary import MOVING, TRUTH
from nsc_deploy.energy.onnx_elementwise import (
    FUNCTIONS,
    batch_normalization,
    between_inputs,
    each,
    mean,
    power,
)
from nsc_deploy.energy.onnx_gathering import (
    chosen,
    groups,
    last_axes,
    local_response,
    log_softmax,
    normalized,
    pooled,
    reduced,
    softmax,
    space,
)
from nsc_deploy.energy.onnx_products import conv, gemm, matmul, recurrent
from nsc_deploy.errors import GraphError

FREE = MOVING | {"Cast", "Constant", "ConstantOfShape", "Shape", "Size", "Where", "Range", "CastLike"}

REDUCTIONS: Mapping[str, Rule] = {
    "ReduceSum": reduced(Kind.ADDITION),
    "ReduceMean": reduced(Kind.ADDITION, last=Kind.PRODUCT, never_one=True),
    "ReduceProd": reduced(Kind.PRODUCT),
    "ReduceMax": reduced(Kind.ACTIVATION),
    "ReduceMin": reduced(Kind.ACTIVATION),
    "ReduceL1": reduced(Kind.ADDITION, each=Kind.ACTIVATION),
    "ReduceL2": reduced(Kind.ADDITION, each=Kind.PRODUCT, last=Kind.ACTIVATION),
    "ReduceSumSquare": reduced(Kind.ADDITION, each=Kind.PRODUCT),
    "ReduceLogSum": reduced(Kind.ADDITION, last=Kind.ACTIVATION),
    "ArgMax": reduced(Kind.ACTIVATION),
    "ArgMin": reduced(Kind.ACTIVATION),
    "TopK": chosen,
    "GlobalAveragePool": reduced(Kind.ADDITION, last=Kind.PRODUCT, never_one=True),
    "GlobalMaxPool": reduced(Kind.ACTIVATION),
    "AveragePool": pooled(Kind.ADDITION, last=Kind.PRODUCT),
    "MaxPool": pooled(Kind.ACTIVATION),
}

NORMALISATIONS: Mapping[str, Rule] = {
    "BatchNormalization": batch_normalization,
    "LayerNormalization": normalized(last_axes),
    "InstanceNormalization": normalized(space),
    "GroupNormalization": normalized(groups),
    "RMSNormalization": normalized(last_axes, centred=False),
    "LRN": local_response,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
}

_RULES: Mapping[str, Rule] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Conv": conv,
    # LSTM: c = f * c + i * g, h = o * tanh(c): 3 products, 1 addition, 5 functions a unit and step.
    "LSTM": recurrent(gates=4, products=3, additions=1, activations=5),
    # GRU: r * h, (1 - z) * n + z * h: 3 products, 2 additions, 3 functions.
    "GRU": recurrent(gates=3, products=3, additions=2, activations=3),
    "RNN": recurrent(gates=1, products=0, additions=0, activations=1),
    "Mul": each(Kind.PRODUCT),
    "Div": each(Kind.PRODUCT),
    "Pow": power,
    "Add": each(Kind.ADDITION),
    "Sub": each(Kind.ADDITION),
    "Sum": between_inputs(Kind.ADDITION),
    "Mean": mean,
    "Max": between_inputs(Kind.ACTIVATION),
    "Min": between_inputs(Kind.ACTIVATION),
    **{name: each(Kind.ACTIVATION) for name in FUNCTIONS | TRUTH},
    **REDUCTIONS,
    **NORMALISATIONS,
}


def cost(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """The cost of one execution.

    Raises:
        GraphError: an operator without a rule, or with an attribute that changes what it does; nothing is
            left out silently.
    """
    kind = site.node.op_type
    if kind in FREE:
        return Cost()
    rule = _RULES.get(kind)
    if rule is None or site.node.domain not in {"", "ai.onnx"}:
        raise GraphError(
            f"has the operator {kind}, which cannot be counted",
            where=f"node '{site.path}'",
            remedy=f"Counted are: {', '.join(sorted(_RULES))}; free are: {', '.join(sorted(FREE))}.",
        )
    if site.attribute("training_mode", 0):
        raise GraphError(
            f"has the operator {kind} in training mode",
            where=f"node '{site.path}'",
            remedy="Export the model for inference.",
        )
    return rule(site, shapes)
