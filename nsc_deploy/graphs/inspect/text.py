"""A description of a graph in the terminal: a table, or a list where the table would be too wide."""

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nsc_deploy.graphs.inspect.describe import Description, NodeView, Range, Size
from nsc_deploy.io.text import counted

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
