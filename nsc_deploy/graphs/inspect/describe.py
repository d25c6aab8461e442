"""What a graph file holds, as values that JSON and a picture are made from, and as text."""

from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.connectivity import synapse_count
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.network import STATEFUL, Network, Node, Reset, Signal
from nsc_deploy.graphs.primitives import array_fields
from nsc_deploy.io.text import counted

Size = int | str


@dataclass(frozen=True)
class Range:
    """An array of parameters in four figures; text and complex numbers have no smallest and no largest."""

    name: str
    shape: tuple[int, ...]
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class NodeView:
    """One node.

    Attributes:
        name: of the node.
        primitive: NIR class or ONNX operator.
        inputs: names of the nodes it takes in.
        delayed_inputs: those of them that arrive one step late, because they close a cycle.
        input_shape: of one sample at one step; for ONNX the whole tensor, T and N open.
        output_shape: likewise.
        emits: events, graded or real; None where the format does not tell.
        neurons: number of neurons with a membrane or a threshold.
        synapses: connections of a Linear, Affine or convolution; weights of 0 and padding are none.
        zero_weights: share of weights that are 0; None without weights.
        parameters: its arrays.
        settings: stride, padding and the like, and what follows from dt.
    """

    name: str
    primitive: str
    inputs: tuple[str, ...]
    delayed_inputs: tuple[str, ...]
    input_shape: tuple[Size, ...]
    output_shape: tuple[Size, ...]
    emits: str | None
    neurons: int
    synapses: int
    zero_weights: float | None
    parameters: tuple[Range, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Description:
    """A whole graph file; `warnings` holds what looks like a fault of the program that wrote it."""

    file: str
    format: str
    dt: float | None
    reset: str | None
    metadata: dict[str, Any]
    neurons: int
    synapses: int
    parameters: int
    nodes: tuple[NodeView, ...]
    warnings: tuple[Diagnostic, ...] = ()


def range_of(name: str, array: NDArray[Any]) -> Range:
    """The figures of one array."""
    if array.dtype.kind in "OSUc":
        return Range(name, tuple(array.shape), None, None)
    if not array.size:
        return Range(name, tuple(array.shape), 0.0, 0.0)
    return Range(name, tuple(array.shape), float(array.min()), float(array.max()))


def plain(value: Any) -> Any:
    """A value as JSON can hold it; what is not finite in words."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def as_json(description: Description) -> dict[str, Any]:
    """A description as a value that `json` can write."""
    told: dict[str, Any] = plain(asdict(description))
    return told


def describe(
    path: Path, *, dt: float | None = None, reset: Reset | None = None, signal: Signal | None = None
) -> Description:
    """Read and describe a .nir or .onnx file.

    Args:
        path: the file; the name decides the format.
        dt: for a file that does not state it.
        reset: for a NIR file that does not state it.
        signal: for a file that does not state it.

    Raises:
        GraphError: as the readers do, and where a file states something else.
    """
    if path.suffix.lower() == ".onnx":
        from nsc_deploy.graphs.inspect.describe_onnx import describe_onnx

        return describe_onnx(path, dt=dt, reset=reset, signal=signal)
    return describe_network(read_network(path, dt=dt, reset=reset, signal=signal), str(path))


def describe_network(network: Network, file: str) -> Description:
    """Describe a network that was read already."""
    views = tuple(_view(node, network) for node in network.nodes)
    return Description(
        file=file,
        format="NIR",
        dt=network.dt,
        reset=None if network.reset is None else network.reset.value,
        metadata={key: plain(value) for key, value in network.metadata.items()},
        neurons=sum(view.neurons for view in views),
        synapses=sum(view.synapses for view in views),
        parameters=sum(prod(array.shape) for view in views for array in view.parameters),
        nodes=views,
        warnings=network.diagnostics,
    )


def _view(node: Node, network: Network) -> NodeView:
    neural = node.spiking or (node.stateful and node.primitive != "Delay")
    weight = getattr(node.parameters, "weight", None)
    return NodeView(
        name=node.name,
        primitive=node.primitive,
        inputs=node.inputs,
        delayed_inputs=tuple(source for source in node.inputs if (source, node.name) in network.back_edges),
        input_shape=node.input_shape,
        output_shape=node.output_shape,
        emits=node.emits.value,
        neurons=prod(node.output_shape) if neural else 0,
        synapses=synapse_count(node),
        zero_weights=None if weight is None else float((weight == 0).mean()),
        parameters=tuple(
            range_of(name, getattr(node.parameters, name)) for name in array_fields(node.primitive)
        ),
        settings=_settings(node, network.dt),
    )


def _settings(node: Node, dt: float | None) -> dict[str, Any]:
    """What is no array, and what the time step makes of the time constants."""
    names = ("stride", "padding", "dilation", "groups", "kernel_size", "start_dim", "end_dim")
    settings = {
        name: plain(getattr(node.parameters, name)) for name in names if hasattr(node.parameters, name)
    }
    if dt is None or node.primitive not in STATEFUL:
        return settings
    for field, label in (("tau", "decay"), ("tau_mem", "decay"), ("tau_syn", "synaptic decay")):
        if hasattr(node.parameters, field):
            settings[label] = _span(1 - dt / getattr(node.parameters, field))
    if node.primitive == "Delay":
        settings["steps"] = _span(node.parameters.delay / dt)
    return settings


def _span(values: NDArray[Any]) -> float | list[float]:
    low, high = round(float(values.min()), 9), round(float(values.max()), 9)
    return low if low == high else [low, high]


_PARAMETERS_WIDTH = 36
"""Characters that the table wants for parameters; with fewer, a list reads better."""


def to_text(description: Description) -> RenderableType:
    """What holds for the whole graph, its nodes and a line of totals."""
    return Group(_facts(description), Text(), _Nodes(description.nodes), Text(), _totals(description))


@dataclass(frozen=True)
class _Nodes:
    """The nodes as a table; as a list where the console is too narrow for it. Only spaces are broken at."""

    nodes: tuple[NodeView, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        details = max((len(line) for node in self.nodes for line in _details(node)), default=0)
        unbounded = options.update(width=10_000)
        fixed = Measurement.get(console, unbounded, self._table(with_parameters=False)).maximum
        if fixed + min(details, _PARAMETERS_WIDTH) <= options.max_width:
            yield self._table()
        else:
            yield from self._list()

    def _table(self, *, with_parameters: bool = True) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for title in ("Node", "Kind", "From", "Shape", "Emits"):
            table.add_column(title, no_wrap=True)
        if with_parameters:
            table.add_column("Parameters")
        for node in self.nodes:
            cells = (node.name, node.primitive, _sources(node), _shapes(node), node.emits or "")
            table.add_row(*cells, *(["\n".join(_details(node))] if with_parameters else []))
        return table

    def _list(self) -> RenderResult:
        for node in self.nodes:
            facts = [node.primitive, _shapes(node), *([node.emits] if node.emits else [])]
            yield Text(node.name, style="bold").append("  " + "  ".join(facts), style="not bold")
            lines = [f"from {', '.join(_late_marked(node))}"] if node.inputs else []
            for line in (*lines, *_details(node)):
                yield Padding(Text(line), (0, 0, 0, 4), expand=False)


def _facts(description: Description) -> Text:
    facts = [description.format]
    if description.dt is not None:
        facts.append(f"dt {description.dt:g} s")
    if description.reset is not None:
        facts.append(f"reset {description.reset}")
    stated = {
        key: value for key, value in description.metadata.items() if key not in {"dt", "reset", "units"}
    }
    facts += [f"{key.replace('_', ' ')} {_word(value)}" for key, value in stated.items()]
    return Text(", ".join(facts))


def _word(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _totals(description: Description) -> Text:
    counts = [counted(len(description.nodes), "node")]
    if description.format == "NIR":
        counts += [counted(description.neurons, "neuron"), counted(description.synapses, "synapse")]
    return Text(", ".join([*counts, counted(description.parameters, "parameter")]))


def _sources(node: NodeView) -> str:
    return "\n".join(_late_marked(node))


def _late_marked(node: NodeView) -> list[str]:
    late = set(node.delayed_inputs)
    return [f"{source} (one step late)" if source in late else source for source in node.inputs]


def _shapes(node: NodeView) -> str:
    if node.input_shape == node.output_shape or not node.input_shape:
        return shape_text(node.output_shape)
    return f"{shape_text(node.input_shape)} -> {shape_text(node.output_shape)}"


def shape_text(shape: tuple[Size, ...]) -> str:
    """A shape as a person writes it: 2x34x34."""
    return "x".join(str(size) for size in shape) or "scalar"


def _details(node: NodeView) -> list[str]:
    """Settings and elementwise arrays in one line, each larger array in one of its own."""
    short = [f"{name} {_value(value)}" for name, value in node.settings.items()]
    short += [f"{array.name} {_range(array)}" for array in node.parameters if not _large(node, array)]
    large = [
        f"{array.name} {shape_text(array.shape)}: {_range(array)}{_zeros(node, array)}"
        for array in node.parameters
        if _large(node, array)
    ]
    return [*large, *([", ".join(short)] if short else [])]


def _large(node: NodeView, array: Range) -> bool:
    """Whether the shape of an array says more than the shape of the node."""
    return bool(array.shape) and array.shape != node.output_shape


def _range(array: Range) -> str:
    if array.minimum is None or array.maximum is None:
        return "no numbers in order"
    if array.minimum == array.maximum:
        return f"{array.minimum:.4g}"
    return f"{array.minimum:.4g} to {array.maximum:.4g}"


def _zeros(node: NodeView, array: Range) -> str:
    if array.name != "weight" or not node.zero_weights:
        return ""
    # Rounding makes neither all nor nothing of what is not.
    percent = min(max(100 * node.zero_weights, 0.01), 99.99) if node.zero_weights < 1 else 100
    return f", {percent:.{0 if 1 <= percent <= 99 else 2}f}% zero" if percent < 100 else ", all zero"


def _value(value: object) -> str:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(item, float) for item in value):
        return f"{value[0]:.4g} to {value[1]:.4g}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
