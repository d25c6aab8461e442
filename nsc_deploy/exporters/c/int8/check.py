"""What C in 8 bits says of each operator of an ONNX graph."""

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.c.int8.chain import ChainReader
from nsc_deploy.exporters.c.int8.integers import IntegerReader, computes_in_integers
from nsc_deploy.exporters.c.int8.reader import Reader
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.onnx_network import OnnxNetwork
from nsc_deploy.passes.verdict import Status, Verdict

_ENDS = dict.fromkeys(("Input", "Output"), (Status.NATIVE, "values of 8 or 16 bits"))
_BECOMES = _ENDS | {
    "MatMul": (Status.NATIVE, "weights of 8 bits, a factor for each row"),
    "Gemm": (Status.NATIVE, "weights of 8 bits, a factor for each row"),
    "Conv": (Status.NATIVE, "weights of 8 bits, window by window"),
    "LSTM": (Status.NATIVE, "gates of 16 bits, sigmoid and tanh from tables"),
    "GRU": (Status.NATIVE, "gates of 16 bits, sigmoid and tanh from tables"),
    "MaxPool": (Status.NATIVE, "the largest value of each window"),
    "GlobalMaxPool": (Status.NATIVE, "the largest value of each channel"),
    "ReduceMax": (Status.NATIVE, "the largest value of each channel"),
    "AveragePool": (Status.SUBSTITUTED, "a convolution with equal weights"),
    "GlobalAveragePool": (Status.SUBSTITUTED, "a convolution with equal weights"),
    "ReduceMean": (Status.SUBSTITUTED, "a convolution with equal weights"),
    "BatchNormalization": (Status.SUBSTITUTED, "folded into the weights"),
    "Add": (Status.NATIVE, "a bias of 32 bits"),
    "MatMulInteger": (Status.NATIVE, "the graph's own weights"),
    "ConvInteger": (Status.NATIVE, "the graph's own weights, window by window"),
    "Mul": (Status.NATIVE, "a multiplication and a shift"),
    "Clip": (Status.NATIVE, "where values are cut off"),
    "QuantizeLinear": (Status.NATIVE, "the rounding of the shift"),
    "Scan": (Status.NATIVE, "gates that round as the graph's do, in integers"),
    "Relu": (Status.NATIVE, "where values are cut off"),
}
_NOTHING = (Status.NATIVE, "nothing: values keep their order")
_MADE_ONCE = (Status.NATIVE, "nothing: the same whatever enters")


def operator_verdicts(network: Network) -> tuple[Verdict, ...]:
    """A verdict on each operator, in the order of the graph; the first that is refused ends the chain.

    The output is refused where all operators were taken, and what they make has no form.
    """
    if not isinstance(network, OnnxNetwork):
        raise TypeError("no graph of ONNX")
    kind: type[Reader] = IntegerReader if computes_in_integers(network) else ChainReader
    reader, ended = kind(network, "graph"), False
    verdicts = []
    for node in network.nodes:
        refusal, once = None, node.primitive not in _ENDS and reader.made_once(node.parameters)
        if not ended:
            try:
                _read(node, reader, network)
            except GraphError as error:
                refusal, ended = error, True
        elif node.primitive not in _ENDS and not (once or reader.knows(node.primitive)):
            refusal = GraphError(reader.unknown, hint=reader.hint)
        if refusal is None:
            becomes = _MADE_ONCE if once else _BECOMES.get(node.primitive, _NOTHING)
            verdicts.append(Verdict(node.name, node.primitive, *becomes))
        else:
            hint = refusal.hint or reader.hint
            verdicts.append(Verdict(node.name, node.primitive, Status.REFUSED, refusal.problem, hint))
    return tuple(verdicts)


def _read(node: Node, reader: Reader, network: OnnxNetwork) -> None:
    """Take a node into what was read.

    Raises:
        GraphError: it has no form.
    """
    if node.primitive == "Output":
        reader.read_end(network)
    elif node.primitive != "Input":
        reader.take(node.parameters)
