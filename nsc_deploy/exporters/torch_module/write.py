"""A graph as the text of a Python module and the arrays of its state dictionary.

Names of a graph as Python identifiers.
"""

import builtins
import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from numpy.typing import NDArray

import nsc_deploy
from nsc_deploy.exporters.stepwise import Stage, late_names, stages
from nsc_deploy.exporters.torch_module.frameworks import Arrays, Framework, Layer
from nsc_deploy.graphs.network import Network, Node, Shape
from nsc_deploy.graphs.operators.linear import delay_steps
from nsc_deploy.graphs.operators.neurons import Coefficients, Float32, coefficients


@dataclass(frozen=True)
class Module:
    """A module as it is written.

    Attributes:
        text: the Python source.
        weights: its state dictionary.
        attributes: where each node with numbers of its own is found in the module.
    """

    text: str
    weights: Arrays
    attributes: Mapping[str, str]


@dataclass
class _Draft:
    """What is collected on the way."""

    layers: list[str] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    weights: Arrays = field(default_factory=dict)
    helpers: set[str] = field(default_factory=set)
    attributes: dict[str, str] = field(default_factory=dict)


def write_module(network: Network, framework: Framework) -> Module:
    """A graph with one Input and one Output as a module of a framework."""
    writer = _Writer(network, framework)
    writer.write()
    return Module(writer.text(), writer.draft.weights, writer.draft.attributes)


class _Writer:
    def __init__(self, network: Network, framework: Framework) -> None:
        self._network = network
        self._framework = framework
        self._namer = Namer()
        self._variables = {
            node.name: "frame" if node.primitive == "Input" else self._namer.take(node.name)
            for node in network.nodes
        }
        self.draft = _Draft()

    def write(self) -> None:
        steps = stages(self._network)
        for name in late_names(steps):
            self._state(f"{name}.last", self._network.node(name).output_shape)
        for stage in steps:
            self._stage(stage)
        for stage in steps:
            if stage.early:
                key = _text(f"{stage.node.name}.past")
                attribute = self.draft.attributes[stage.node.name]
                self._line(f"_, after[{key}] = self.{attribute}({self._arriving(stage)}, state[{key}])")
        for name in late_names(steps):
            self._line(f"after[{_text(f'{name}.last')}] = {self._variables[name]}")

    def text(self) -> str:
        folder = resources.files("nsc_deploy.exporters.torch_module").joinpath("templates")
        environment = Environment(
            loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701 - Python, not HTML; names of the graph enter as literals only
        )
        source, target = self._network.input_node, self._network.output_node
        helpers = self.draft.helpers
        return environment.get_template("module.py.j2").render(
            framework=self._framework,
            imports=[one.line for one in self._framework.imports if not one.helpers or one.helpers & helpers],
            tool=nsc_deploy.__version__,
            helpers=helpers,
            remarks=[*self._remarks(), *self._framework.remark.split("\n")],
            layers=self.draft.layers,
            states=self.draft.states,
            lines=self.draft.lines,
            attributes=[(_text(name), _text(value)) for name, value in self.draft.attributes.items()],
            result=self._variables[target.name],
            sizes={
                "entering": _sizes(("steps", "samples", *source.output_shape)),
                "leaving": _sizes(("steps", "samples", *target.output_shape)),
                "frame": _sizes(("samples", *source.output_shape)),
            },
        )

    def _remarks(self) -> list[str]:
        source = self._network.input_node
        remarks = [f"What enters: {source.emits.value}, float32."]
        if self._network.dt is not None:
            remarks.append(f"One step is {self._network.dt:g} s.")
        return remarks

    def _line(self, text: str) -> None:
        self.draft.lines.append(text)

    def _state(self, name: str, shape: Shape) -> str:
        self.draft.states.append((_text(name), ", ".join(map(str, shape))))
        return _text(name)

    def _layer(self, name: str, attribute: str, layer: Layer, *, shown: bool = True) -> str:
        self.draft.layers.append(f"self.{attribute} = {layer.expression}")
        self.draft.weights |= {f"{attribute}.{key}": value for key, value in layer.arrays.items()}
        self.draft.helpers |= layer.helpers
        if shown:
            self.draft.attributes[name] = attribute
        return attribute

    def _arriving(self, stage: Stage) -> str:
        return " + ".join(
            f"state[{_text(f'{one.name}.last')}]" if one.late else self._variables[one.name]
            for one in stage.sources
        )

    def _stage(self, stage: Stage) -> None:
        node, variable = stage.node, self._variables[stage.node.name]
        if node.primitive == "Input":
            return
        if node.primitive == "Output":
            self._line(f"{variable} = {self._arriving(stage)}")
        elif node.primitive == "Flatten":
            shape = ", ".join(map(str, node.output_shape))
            self._line(f"{variable} = ({self._arriving(stage)}).reshape(len(frame), {shape})")
        elif node.primitive in _STATELESS:
            self._layer(node.name, variable, _STATELESS[node.primitive](node))
            self._line(f"{variable} = self.{variable}({self._arriving(stage)})")
        elif node.primitive == "Delay":
            self._delay(stage, variable)
        else:
            self._neuron(stage, variable)

    def _delay(self, stage: Stage, variable: str) -> None:
        steps = delay_steps(stage.node, self._network.dt)
        longest = int(steps.max())
        if not longest:
            self._line(f"{variable} = {self._arriving(stage)}")
            return
        shape = stage.node.output_shape
        layer = Layer(f"Delay({shape}, longest={longest})", {"steps": steps}, frozenset({"Delay"}))
        self._layer(stage.node.name, variable, layer)
        key = self._state(f"{stage.node.name}.past", (longest, *shape))
        if stage.early:
            self._line(f"{variable} = self.{variable}.emit(state[{key}])")
        else:
            self._line(f"{variable}, after[{key}] = self.{variable}({self._arriving(stage)}, state[{key}])")

    def _neuron(self, stage: Stage, variable: str) -> None:
        node = stage.node
        numbers = coefficients(node, self._network)
        arriving = self._arriving(stage)
        if node.primitive == "Threshold":
            held = {"threshold": np.asarray(numbers.threshold)}
            layer = Layer(f"Comparator({node.output_shape})", held, frozenset({"Comparator"}))
            self._layer(node.name, variable, layer)
            self._line(f"{variable} = self.{variable}({arriving})")
            return
        if numbers.synapse is not None:
            arriving = self._synapse(node, variable, numbers.synapse, arriving)
        arriving = self._current(node, variable, numbers.gain, numbers.offset, arriving)
        self._layer(node.name, variable, self._membrane(node, numbers))
        key = self._state(f"{node.name}.v", node.output_shape)
        self._line(f"{variable}, after[{key}] = self.{variable}({arriving}, state[{key}])")

    def _membrane(self, node: Node, numbers: Coefficients) -> Layer:
        shape = str(node.output_shape)
        if numbers.threshold is None or numbers.floor is None:
            return self._framework.integrator(shape, numbers.decay)
        return self._framework.neuron(shape, numbers, numbers.threshold, numbers.floor)

    def _synapse(self, node: Node, variable: str, numbers: tuple[Float32, Float32], arriving: str) -> str:
        decay, gain = numbers
        name = self._namer.take(f"{variable}_synapse")
        arriving = self._current(node, name, gain, np.zeros_like(gain), arriving)
        self._layer(node.name, name, self._framework.integrator(str(node.output_shape), decay), shown=False)
        key = self._state(f"{node.name}.u", node.output_shape)
        self._line(f"{name}, after[{key}] = self.{name}({arriving}, state[{key}])")
        return name

    def _current(self, node: Node, variable: str, gain: Float32, offset: Float32, arriving: str) -> str:
        """The current a membrane takes in, as an expression; nothing to do for a gain of 1."""
        if (gain == 1).all() and not offset.any():
            return arriving
        name = self._namer.take(f"{variable}_current")
        held: dict[str, NDArray[Any]] = {"gain": gain, **({"offset": offset} if offset.any() else {})}
        driven = ", offset=True" if offset.any() else ""
        layer = Layer(f"Current({node.output_shape}{driven})", held, frozenset({"Current"}))
        self._layer(node.name, name, layer, shown=False)
        return f"self.{name}({arriving})"


def _dense(node: Node) -> Layer:
    weight = node.parameters.weight.astype(np.float32)
    bias = node.primitive == "Affine"
    held = {"weight": weight, **({"bias": node.parameters.bias.astype(np.float32)} if bias else {})}
    if weight.ndim > 2:
        how = ", bias=True" if bias else ""
        return Layer(f"Slices({', '.join(map(str, weight.shape))}{how})", held, frozenset({"Slices"}))
    out, into = weight.shape
    return Layer(f"nn.Linear({into}, {out}{'' if bias else ', bias=False'})", held)


def _convolution(node: Node) -> Layer:
    parameters = node.parameters
    out, into, *kernel = parameters.weight.shape
    options = {
        "stride": parameters.stride,
        "padding": parameters.padding,
        "dilation": parameters.dilation,
        "groups": parameters.groups,
    }
    listed = ", ".join(f"{name}={value!r}" for name, value in options.items())
    held = {
        "weight": parameters.weight.astype(np.float32),
        "bias": parameters.bias.astype(np.float32),
    }
    return Layer(f"nn.{node.primitive}({into * parameters.groups}, {out}, {tuple(kernel)}, {listed})", held)


def _pool(node: Node) -> Layer:
    parameters = node.parameters
    divisor = ", divisor_override=1" if node.primitive == "SumPool2d" else ""
    sizes = f"{parameters.kernel_size}, stride={parameters.stride}, padding={parameters.padding}"
    return Layer(f"nn.AvgPool2d({sizes}{divisor})", {})


def _scale(node: Node) -> Layer:
    held = {"scale": node.parameters.scale.astype(np.float32)}
    return Layer(f"Scale({node.output_shape})", held, frozenset({"Scale"}))


_STATELESS: Mapping[str, Callable[[Node], Layer]] = {
    "Linear": _dense,
    "Affine": _dense,
    "Conv1d": _convolution,
    "Conv2d": _convolution,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Scale": _scale,
}


def _text(name: str) -> str:
    """A name as a Python literal of plain characters: whatever a graph calls its nodes, it stays data."""
    literal = ascii(name)
    return literal if '"' in literal else f'"{literal[1:-1]}"'


def _sizes(sizes: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


# Public names of torch.nn.Module, whose places no layer may take, and names the templates use.
_MODULE = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double
dump_patches eval
extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu
load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters
register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to
to_empty train training type xpu zero_grad
"""
_TEMPLATE = """
self frame state after values outputs output samples step rest load load_file torch nn snn surrogate threshold
reset_subtract reset_value Path Network NODES Comparator Current Delay Integrator Neuron Scale Slices leaky
leaky_step integrate_step
"""
_TAKEN = frozenset(
    [*_MODULE.split(), *_TEMPLATE.split(), *keyword.kwlist, *keyword.softkwlist, *dir(builtins)]
)


class Namer:
    """Hands out Python identifiers, every one of them once."""

    def __init__(self) -> None:
        self._used = set(_TAKEN)

    def take(self, name: str) -> str:
        """An identifier as near to a name as may be."""
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        wanted = plain if re.match(r"[A-Za-z]", plain) else f"n_{plain}"
        free, number = wanted, 2
        while free in self._used:
            free = f"{wanted}_{number}"
            number += 1
        self._used.add(free)
        return free
