"""The C code of a network in 8 bits: tables, header, source, example."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nsc_deploy
from nsc_deploy.exporters.c.code import HERE, NO_MANIFEST, LayerSize, Origin
from nsc_deploy.exporters.c.int8.emulator import SIGMOID, TANH, decide, emulate
from nsc_deploy.exporters.c.int8.geometry import Windows
from nsc_deploy.exporters.c.int8.network import (
    Convolution,
    Dense,
    Gru,
    HardGru,
    Int8Network,
    Layer,
    Lstm,
    Maximum,
    Product,
    Recurrent,
    products_of,
)
from nsc_deploy.exporters.c.packing import Table
from nsc_deploy.exporters.c.write import Harness, comment, template_text, wrapped

MOST_EXAMPLE_VALUES = 4096


@dataclass(frozen=True)
class Single:
    """A number of single precision: mantissa of 24 bits times 2^exponent."""

    mantissa: int
    exponent: int

    @classmethod
    def of(cls, value: float) -> "Single":
        """A number above 0."""
        fraction, exponent = np.frexp(np.float64(np.float32(value)))
        return cls(int(fraction * 2**24), int(exponent) - 24)


@dataclass(frozen=True)
class HardGates:
    """The numbers of a HardGru.

    Attributes:
        largest: L.
        entering: factor of what comes in.
        own: factor of its own output.
        share: 1 / L.
    """

    largest: int
    entering: Single
    own: Single
    share: Single

    @classmethod
    def of(cls, layer: HardGru) -> "HardGates":
        """Those of a layer."""
        entering, own = (
            Single.of(float(one.multiplier[0]) * 2.0 ** -int(one.shift[0]))
            for one in (layer.entering, layer.recurrent)
        )
        return cls(layer.largest, entering, own, Single.of(1 / layer.largest))


@dataclass(frozen=True)
class WrittenLayer:
    """A layer as the templates see it.

    Attributes:
        name: in C.
        kind: dense, convolution, maximum, lstm, gru or hard_gru.
        inputs: numbers that enter.
        outputs: numbers that leave.
        source: where they lie.
        target: where they go; of cells the state that they show.
        ctype: of what goes there.
        low: the least that leaves.
        high: the most.
        width: weights in a row.
        windows: of a convolution or a pool.
        groups: of a convolution.
        rows: of weights.
        gates: of a hard_gru.
        single: whether its sums are rounded as in single precision.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    source: str
    target: str
    ctype: str
    low: int
    high: int
    width: int
    windows: Windows | None
    groups: int
    rows: int
    gates: HardGates | None
    single: bool

    @property
    def cells(self) -> bool:
        """Whether it has a state."""
        return self.kind in {"lstm", "gru", "hard_gru"}

    @property
    def keeps(self) -> bool:
        """Whether there is more to its state than what it shows."""
        return self.kind in {"lstm", "gru"}

    @property
    def words(self) -> int:
        """Words of weights a row."""
        return words_of(self.width)

    @property
    def own_words(self) -> int:
        """The same of the weights of its own output."""
        return words_of(self.outputs)


@dataclass(frozen=True)
class Written:
    """A network as the templates see it.

    Attributes:
        network: its integers.
        name: prefix of everything in C.
        layers: in their order.
    """

    network: Int8Network
    name: str
    layers: tuple[WrittenLayer, ...]

    @property
    def wide(self) -> int:
        """Words for what enters a layer, two values each."""
        return max((2 * layer.words for layer in self.layers if layer.kind != "maximum"), default=0)

    @property
    def own(self) -> int:
        """The same for what cells have shown."""
        return max((2 * layer.own_words for layer in self.layers if layer.cells), default=0)

    @property
    def patch(self) -> int:
        """Values of the largest window of a convolution."""
        return max((layer.width for layer in self.layers if layer.kind == "convolution"), default=0)

    def room(self, name: str) -> int:
        """Values that a buffer between layers has to hold."""
        return max((layer.outputs for layer in self.layers if layer.target == f"state->{name}"), default=0)

    @property
    def state(self) -> dict[str, tuple[str, int]]:
        """RAM by field of the state: whose it is, and bytes."""
        shared = {"ready": 4, "wide": 4 * self.wide, "own": 4 * self.own}
        shared |= {"votes": 8 * (self.network.classes or 0)}
        found = {name: ("all layers", size) for name, size in shared.items() if size}
        for layer, of in zip(self.layers, self.network.layers, strict=True):
            if layer.keeps:
                found[f"{layer.name}_c"] = (of.name, 2 * layer.outputs)
        for layer, of in zip(self.layers, self.network.layers, strict=True):
            if layer.cells:
                found[f"{layer.name}_h"] = (of.name, layer.outputs)
        for name, size in (("even", self.room("even")), ("odd", self.room("odd")), ("patch", self.patch)):
            if size:
                found[name] = ("all layers", size)
        align = 8 if self.network.classes else 4
        rest = -sum(size for _, size in found.values()) % align
        # Words of 64 bits stand first, so that nothing but the end is filled up.
        return found | ({"filling": ("all layers", rest)} if rest else {})


def words_of(values: int) -> int:
    """Words of weights in a row, in whole blocks of four."""
    return 4 * -(-values // 16)


def header_text(
    network: Int8Network,
    name: str,
    origin: Origin = HERE,
    manifest_sha256: str = NO_MANIFEST,
    dt: float | None = None,
) -> str:
    """NAME.h."""
    values = _values(network, name, origin, dt)
    return template_text("int8.h.jinja", **values, manifest_sha256=manifest_sha256)


def source_text(network: Int8Network, name: str, origin: Origin = HERE) -> str:
    """NAME.c."""
    return template_text("int8.c.jinja", **_values(network, name, origin), tables=tables(network))


def example_text(
    network: Int8Network, name: str, origin: Origin, entering: NDArray[np.int8], about: str
) -> str:
    """main.c, with what enters [steps, inputs] of one sample and the answer that the emulator gives."""
    taken = entering[: max(1, MOST_EXAMPLE_VALUES // entering.shape[1])]
    output = emulate(network, taken[:, None])
    return template_text(
        "int8.main.c.jinja",
        **_values(network, name, origin),
        about=about,
        steps=len(taken),
        recorded=wrapped([str(value) for value in taken.reshape(-1).tolist()]),
        expected=int(output[-1, 0].sum(dtype=np.int64)),
        decision=None if network.classes is None else int(decide(network, output)[0]),
    )


def readme_text(network: Int8Network, name: str, origin: Origin, about: str) -> str:
    """README.md."""
    written = write_out(network, name)
    return template_text(
        "int8.README.md.jinja",
        **_values(network, name, origin),
        about=about,
        recording=origin.recording,
        state_bytes=sum(size for _, size in written.state.values()),
    )


def harness_text(network: Int8Network, name: str, template: str, **values: Any) -> str:
    """A main program that runs recorded samples, on this machine or on a board."""
    a_word = 32 // network.output_bits
    inputs, outputs = 4 * -(-network.inputs // 4), a_word * -(-network.outputs // a_word)
    harness = Harness(
        "int8_t", inputs, f"int{network.output_bits}_t", outputs, "step", network.classes is not None
    )
    return template_text(template, **_values(network, name, HERE), harness=harness, traced=(), **values)


def tables(network: Int8Network) -> list[Table]:
    """Everything in flash but code."""
    found: list[Table] = []
    for index, layer in enumerate(network.layers):
        name = f"l{index}"
        for number, (_, product) in enumerate(products_of(layer)):
            kept = _tables(product, f"{name}_own" if number else name, name, layer.name)
            if isinstance(layer, HardGru):  # one factor a product, which stands in the code
                found += [kept[0]] if number else [kept[0], kept[3]]
                continue
            # The bias of an LSTM stands in the product of its inputs.
            found += kept[:3] if number and isinstance(layer, Lstm) else kept
    if any(isinstance(layer, Lstm | Gru) for layer in network.layers):
        found += [
            Table(name, "int16_t", values.astype(np.int64), f"the function {name}", "all layers")
            for name, values in (("sigmoid", SIGMOID), ("tangent", TANH))
        ]
    return found


def _tables(product: Product, prefix: str, layer_name: str, layer: str) -> list[Table]:
    rows, width = product.weight.shape
    full = np.zeros((rows, 4 * words_of(width)), np.int8)
    full[:, :width] = product.weight
    packed = full.view("<u4").reshape(-1).astype(np.int64)
    weights = f"{layer_name}_weight" if prefix == layer_name else prefix
    return [
        Table(weights, "uint32_t", packed, "weights", layer),
        Table(f"{prefix}_multiplier", "int32_t", product.multiplier.astype(np.int64), "factors", layer),
        Table(f"{prefix}_shift", "uint8_t", product.shift.astype(np.int64), "shifts", layer),
        Table(f"{prefix}_bias", "int32_t", product.bias.astype(np.int64), "biases", layer),
    ]


def write_out(network: Int8Network, name: str) -> Written:
    """The layers with their names and places in C."""
    layers: list[WrittenLayer] = []
    inputs, source = network.inputs, "values"
    for index, layer in enumerate(network.layers):
        known, last = f"l{index}", layer is network.layers[-1]
        target, ctype = (
            ("outputs", f"int{network.output_bits}_t")
            if last
            else (f"state->{'odd' if index % 2 else 'even'}", "int8_t")
        )
        if isinstance(layer, Recurrent):
            target = f"state->{known}_h"
        weight = next((product.weight for _, product in products_of(layer)), np.zeros((0, 0)))
        layers.append(
            WrittenLayer(
                name=known,
                kind=_KINDS[type(layer)],
                inputs=inputs,
                outputs=layer.outputs,
                source=source,
                target=target,
                ctype=ctype,
                low=layer.low if isinstance(layer, Dense | Convolution) else 0,
                high=layer.high if isinstance(layer, Dense | Convolution) else 0,
                width=weight.shape[1],
                windows=layer.windows if isinstance(layer, Convolution | Maximum) else None,
                groups=layer.groups if isinstance(layer, Convolution) else 1,
                rows=len(weight),
                gates=HardGates.of(layer) if isinstance(layer, HardGru) else None,
                single=any(product.single for _, product in products_of(layer)),
            )
        )
        inputs, source = layer.outputs, target
    return Written(network, name, tuple(layers))


_KINDS: dict[type, str] = {
    Dense: "dense",
    Convolution: "convolution",
    Maximum: "maximum",
    Lstm: "lstm",
    Gru: "gru",
    HardGru: "hard_gru",
}


def layer_sizes(network: Int8Network, name: str) -> list[LayerSize]:
    """What a manifest says of the layers."""
    state = list(write_out(network, name).state.values())
    kept = tables(network)
    return [
        LayerSize(
            node=layer.name,
            neurons=layer.outputs,
            synapses=_uses(layer),
            forms=tuple(f"{_KINDS[type(layer)]} 8" for _ in products_of(layer)) or ("maximum",),
            table_bytes=sum(table.bytes for table in kept if table.layer == layer.name),
            state_bytes=sum(size for owner, size in state if owner == layer.name),
        )
        for layer in network.layers
    ]


def _uses(layer: Layer) -> int:
    """Products of a step with weights that are not zero; of a convolution each use of one."""
    count = sum(int(np.count_nonzero(product.weight)) for _, product in products_of(layer))
    if isinstance(layer, Convolution):
        count *= layer.windows.places[0] * layer.windows.places[1]
    return count


def _values(network: Int8Network, name: str, origin: Origin, dt: float | None = None) -> dict[str, Any]:
    written = write_out(network, name)
    step = None if dt is None else round(dt * 1e9)
    return {
        "network": network,
        "written": written,
        "name": name,
        "macro": name.upper(),
        "tool": nsc_deploy.__version__,
        "graph": comment(origin.graph),
        "ready": origin.ready,
        "sizes": " -> ".join(str(layer.outputs) for layer in written.layers),
        "layers": written.layers,
        "cells": any(layer.keeps for layer in written.layers),
        "multiplied": any(layer.kind != "maximum" and not layer.single for layer in written.layers),
        "single": any(layer.single for layer in written.layers),
        "hard": any(layer.cells and not layer.keeps for layer in written.layers),
        "out_type": f"int{network.output_bits}_t",
        "sum_type": f"int{2 * network.output_bits}_t",
        "products": any(layer.kind != "maximum" for layer in written.layers),
        "images": any(layer.kind == "convolution" for layer in written.layers),
        "dt_ns": step if step is not None and 0 < step < 2**32 else None,
    }
