"""A drawing of a graph: boxes for nodes, lines coloured by what they carry.

Where the nodes of a graph go in a drawing: layers from left to right, few crossings.

Layers by the longest path, long edges broken by invisible points, order within a layer by the mean
place of the neighbours (Sugiyama, Tagawa and Toda 1981).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from nsc_deploy.graphs.inspect.describe import Description, NodeView, shape_text
from nsc_deploy.graphs.network import SPIKING, STATEFUL, SYNAPTIC
from nsc_deploy.io.pictures import require_format, save_figure

_BOX = (1.5, 0.72)
_CELL = (2.15, 1.12)
_INK = "#1f2933"
_KINDS = {"terminal": "#e5e9ee", "synapse": "#dbe7f6", "neuron": "#fbe3cf", "other": "#f3f4f6"}
_EDGES = {"events": "#c2410c", "graded": "#7c3aed", "real": "#2563a6", None: "#52606d"}
_KIND_LETTERS = 24  # as many as fit into a box at the usual size
_LABELS = {"events": "events (0 or 1)", "graded": "graded events", "real": "real values"}
_ONNX_SYNAPSES = frozenset({"MatMul", "Gemm", "Conv", "LSTM"})


def draw(description: Description, path: Path) -> None:
    """Write a picture of a graph; the name's ending decides the format (.svg, .png or .pdf).

    Raises:
        ConfigError: another ending.
        UserError: the place cannot be written.
    """
    require_format(path)
    save_figure(_figure(description), path, dpi=160)


def _figure(description: Description) -> Figure:
    layout = lay_out(description.nodes)
    low = min(y for _, y in layout.places.values())
    high = max(y for _, y in layout.places.values())
    back = any(line.back for line in layout.lines)
    size = (layout.width * _CELL[0] + 0.3, (high - low + 1) * _CELL[1] + 1.0 + 0.9 * back)
    figure = Figure(figsize=(max(size[0], 5.5), size[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    middle = (layout.width - 1) * _CELL[0] / 2
    half = figure.get_size_inches()[0] / 2
    axes.set_xlim(middle - half, middle + half)
    bottom = -high * _CELL[1] - _CELL[1] / 2 - 0.45 - 0.9 * back
    axes.set_ylim(bottom, bottom + size[1])
    carried = {node.name: node.emits for node in description.nodes}
    for line in layout.lines:
        _draw_line(axes, line, carried[line.source], layout, (bottom + 0.75))
    for node in description.nodes:
        _draw_box(axes, node, _at(layout.places[node.name]))
    _draw_legend(axes, description, any(line.late for line in layout.lines))
    return figure


Point = tuple[float, float]


def _at(place: Point) -> Point:
    """Layout units to inches, the first row on top."""
    return place[0] * _CELL[0], -place[1] * _CELL[1]


def _draw_box(axes: Any, node: NodeView, centre: Point) -> None:
    x, y = centre
    width, height = _BOX
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.09",
            facecolor=_KINDS[_kind(node.primitive)],
            edgecolor=_INK,
            linewidth=0.9,
            zorder=3,
        )
    )
    name = node.name if len(node.name) <= 18 else f"…{node.name[-17:]}"
    style = {"ha": "center", "va": "center", "color": _INK, "zorder": 4, "parse_math": False}
    axes.text(x, y + 0.2, name, fontsize=8.5, fontweight="bold", **style)
    kind = f"{node.primitive}  {shape_text(node.output_shape)}"
    axes.text(x, y, kind, fontsize=min(7.5, 7.5 * _KIND_LETTERS / len(kind)), **style)
    axes.text(x, y - 0.2, _fact(node), fontsize=6.5, **(style | {"color": "#52606d"}))


def _kind(primitive: str) -> str:
    if primitive in {"Input", "Output"}:
        return "terminal"
    if primitive in SYNAPTIC or primitive in _ONNX_SYNAPSES:
        return "synapse"
    neural = primitive in SPIKING | STATEFUL - {"Delay"} or primitive == "Scan"
    return "neuron" if neural else "other"


def _fact(node: NodeView) -> str:
    """The one line about a node that a reader looks for first."""
    ranges = {array.name: array for array in node.parameters}
    facts = []
    if node.synapses:
        facts.append(f"{node.synapses:,} synapses")
    if "decay" in node.settings:
        facts.append(f"decay {_short(node.settings['decay'])}")
    for name in ("v_threshold", "threshold"):
        if name in ranges and ranges[name].minimum is not None:
            facts.append(f"θ {_short([ranges[name].minimum, ranges[name].maximum])}")
    if "steps" in node.settings:
        steps = _short(node.settings["steps"])
        facts.append("1 step" if steps == "1" else f"{steps} steps")
    if not facts and node.parameters and _kind(node.primitive) == "synapse":
        facts.append(f"weights {shape_text(node.parameters[0].shape)}")
    return ", ".join(facts)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{value[0]:.3g}" if value[0] == value[1] else f"{value[0]:.3g}…{value[1]:.3g}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Line:
    """An edge as the points it passes, from source to target.

    Attributes:
        source: where it starts.
        target: where it ends.
        points: that it passes.
        back: whether it runs back, against the order of the nodes.
        late: whether it carries the step before; an edge into a Delay of a cycle runs back and does not.
    """

    source: str
    target: str
    points: tuple[Point, ...]
    back: bool
    late: bool


@dataclass(frozen=True)
class Layout:
    """Places in units of one layer and one row.

    Attributes:
        places: centre of each node.
        lines: edges.
        width: number of layers.
        height: rows of the fullest layer.
    """

    places: dict[str, Point]
    lines: tuple[Line, ...]
    width: int
    height: int


def _draw_line(axes: Any, line: Line, carried: str | None, layout: Layout, floor: float) -> None:
    points = [_at(point) for point in line.points]
    half = _BOX[0] / 2
    start, end = (points[0][0] + half, points[0][1]), (points[-1][0] - half, points[-1][1])
    curve = _back(start, end, floor) if line.back else _forward([start, *points[1:-1], end])
    axes.add_patch(
        FancyArrowPatch(
            path=curve,
            arrowstyle="-|>,head_length=5,head_width=2.4",
            color=_EDGES[carried],
            linewidth=1.3,
            linestyle=(0, (4, 2)) if line.late else "solid",
            zorder=2,
            capstyle="butt",
        )
    )


def _forward(points: list[Point]) -> Curve:
    """A smooth curve through the points, level at each."""
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (x1 - x0) / 2
        vertices += [(x0 + bend, y0), (x1 - bend, y1), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    return Curve(vertices, codes)


def _back(start: Point, end: Point, floor: float) -> Curve:
    """An edge that runs back, below everything."""
    reach = 0.32
    (x0, y0), (x1, y1) = start, end
    vertices = [
        start,
        (x0 + reach, y0),
        (x0 + reach, floor),
        (x0 - reach, floor),
        (x1 + reach, floor),
        (x1 - reach, floor),
        (x1 - reach, y1),
        end,
    ]
    codes = [Curve.MOVETO, *[Curve.CURVE4] * 3, Curve.LINETO, *[Curve.CURVE4] * 3]
    return Curve(vertices, codes)


def _draw_legend(axes: Any, description: Description, late: bool) -> None:
    carried = [signal for signal in _LABELS if any(node.emits == signal for node in description.nodes)]
    handles = [Line2D([], [], color=_EDGES[signal], lw=1.5, label=_LABELS[signal]) for signal in carried]
    if late:
        handles.append(Line2D([], [], color=_INK, lw=1.5, ls=(0, (4, 2)), label="one step late"))
    if handles:
        axes.legend(
            handles=handles,
            loc="lower center",
            ncols=len(handles),
            frameon=False,
            fontsize=7.5,
            borderpad=0.2,
        )
    title = Path(description.file).name
    facts = [f"dt {description.dt:g} s"] if description.dt is not None else []
    facts += [f"reset to {description.reset}"] if description.reset == "zero" else []
    facts += ["reset by subtraction"] if description.reset == "subtract" else []
    left, top = axes.get_xlim()[0] + 0.15, axes.get_ylim()[1] - 0.12
    heading = "   ".join([title, *facts])
    axes.text(left, top, heading, fontsize=8.5, color=_INK, va="top", parse_math=False)


_SWEEPS = 12


def lay_out(nodes: Sequence[NodeView]) -> Layout:
    """Place the nodes of a graph, which come in an order with all edges forward, but some of cycles."""
    forward, back = _edges(nodes)
    late = {(source, node.name) for node in nodes for source in node.delayed_inputs}
    layer: dict[str, int] = {}
    for node in nodes:
        before = [layer[source] for source, target in forward if target == node.name]
        layer[node.name] = 1 + max(before, default=-1)
    chains = {edge: _chain(edge, layer) for edge in forward}
    rows: list[list[str]] = [[] for _ in range(1 + max(layer.values()))]
    for name, index in (*layer.items(), *_bends(chains, layer).items()):
        rows[index].append(name)
    neighbours = _neighbours(chains)
    heights = _heights(rows, neighbours)
    places = {name: (float(index), heights[name]) for index, row in enumerate(rows) for name in row}
    passed = {edge: tuple(places[name] for name in chain) for edge, chain in chains.items()}
    passed |= {edge: (places[edge[0]], places[edge[1]]) for edge in back}
    returning = set(back)
    lines = [Line(*edge, points, edge in returning, edge in late) for edge, points in passed.items()]
    shown = {node.name: places[node.name] for node in nodes}
    return Layout(shown, tuple(lines), len(rows), max(len(row) for row in rows))


def _edges(nodes: Sequence[NodeView]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    order = {node.name: index for index, node in enumerate(nodes)}
    edges = [(source, node.name) for node in nodes for source in node.inputs if source in order]
    forward = [edge for edge in edges if order[edge[0]] < order[edge[1]]]
    return forward, [edge for edge in edges if order[edge[0]] >= order[edge[1]]]


def _chain(edge: tuple[str, str], layer: dict[str, int]) -> list[str]:
    source, target = edge
    between = range(layer[source] + 1, layer[target])
    return [source, *(f"{source}\0{target}\0{index}" for index in between), target]


def _bends(chains: dict[tuple[str, str], list[str]], layer: dict[str, int]) -> dict[str, int]:
    return {
        name: layer[edge[0]] + step
        for edge, chain in chains.items()
        for step, name in enumerate(chain)
        if name not in layer
    }


def _neighbours(chains: dict[tuple[str, str], list[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for chain in chains.values():
        for left, right in pairwise(chain):
            found.setdefault(left, []).append(right)
            found.setdefault(right, []).append(left)
    return found


def _heights(rows: list[list[str]], neighbours: dict[str, list[str]]) -> dict[str, float]:
    heights = {name: index - (len(row) - 1) / 2 for row in rows for index, name in enumerate(row)}
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wish = {name: _mean([heights[other] for other in neighbours.get(name, [name])]) for name in row}
            row.sort(key=lambda name: wish[name])
            heights.update(_spread([wish[name] for name in row], row))
    for row in rows:
        heights.update(_halves([heights[name] for name in row], row))
    return heights


def _halves(places: list[float], row: list[str]) -> dict[str, float]:
    """To whole and half rows, so that lines that are nearly level become level."""
    rounded: list[float] = []
    for place in places:
        near = round(2 * place) / 2
        rounded.append(max(near, rounded[-1] + 1) if rounded else near)
    return dict(zip(row, rounded, strict=True))


def _spread(wishes: list[float], row: list[str]) -> dict[str, float]:
    """As near to the wishes as a distance of 1 between neighbours allows, and centred on them."""
    placed: list[float] = []
    for wish in wishes:
        placed.append(max(wish, placed[-1] + 1) if placed else wish)
    shift = _mean(wishes) - _mean(placed)
    return {name: place + shift for name, place in zip(row, placed, strict=True)}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
