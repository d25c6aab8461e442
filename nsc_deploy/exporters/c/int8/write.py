"""The C code of a network in 8 bits: tables, header, source."""

from dataclasses import dataclass
from typing import Any

import numpy as np

import nsc_deploy
from nsc_deploy.exporters.c.int8.network import SIGMOID, TANH, Dense, Int8Network, Lstm, Product
from nsc_deploy.exporters.c.packing import Table
from nsc_deploy.exporters.c.write import Harness, template_text


@dataclass(frozen=True)
class WrittenLayer:
    """A layer as the templates see it."""

    name: str
    inputs: int
    outputs: int
    cells: bool
    source: str
    target: str = ""
    ctype: str = "int8_t"
    low: int = 0
    high: int = 0

    @property
    def words(self) -> int:
        """Words of weights a row."""
        return words_of(self.inputs)

    @property
    def own_words(self) -> int:
        """The same of the weights of its own output."""
        return words_of(self.outputs)


def words_of(values: int) -> int:
    """Words of weights in a row, in whole blocks of four."""
    return 4 * -(-values // 16)


def header_text(network: Int8Network, name: str) -> str:
    """NAME.h."""
    return template_text("int8.h.jinja", **_values(network, name))


def source_text(network: Int8Network, name: str) -> str:
    """NAME.c."""
    return template_text("int8.c.jinja", **_values(network, name), tables=tables(network))


def harness_text(network: Int8Network, name: str, template: str, **values: Any) -> str:
    """A main program that runs recorded samples, on this machine or on a board."""
    outputs = network.layers[-1].outputs
    harness = Harness("int8_t", 4 * -(-network.inputs // 4), "int16_t", 2 * -(-outputs // 2), "step", True)
    return template_text(template, **_values(network, name), harness=harness, traced=(), **values)


def tables(network: Int8Network) -> list[Table]:
    """Everything in flash but code."""
    found: list[Table] = []
    for index, layer in enumerate(network.layers):
        name = f"l{index}"
        if isinstance(layer, Dense):
            found += _tables(layer.product, name, f"{name}_weight", layer.name)
        else:
            found += _tables(layer.entering, name, f"{name}_weight", layer.name)
            # The bias stands in the product of the inputs.
            found += _tables(layer.recurrent, f"{name}_own", f"{name}_own", layer.name)[:3]
    if any(isinstance(layer, Lstm) for layer in network.layers):
        found += [
            Table(name, "int16_t", values.astype(np.int64), f"the function {name}", "all layers")
            for name, values in (("sigmoid", SIGMOID), ("tangent", TANH))
        ]
    return found


def _tables(product: Product, prefix: str, weights: str, layer: str) -> list[Table]:
    rows, width = product.weight.shape
    full = np.zeros((rows, 4 * words_of(width)), np.int8)
    full[:, :width] = product.weight
    packed = full.view("<u4").reshape(-1).astype(np.int64)
    return [
        Table(weights, "uint32_t", packed, "weights", layer),
        Table(f"{prefix}_multiplier", "int32_t", product.multiplier.astype(np.int64), "factors", layer),
        Table(f"{prefix}_shift", "uint8_t", product.shift.astype(np.int64), "shifts", layer),
        Table(f"{prefix}_bias", "int32_t", product.bias.astype(np.int64), "biases", layer),
    ]


def _values(network: Int8Network, name: str) -> dict[str, Any]:
    layers = _layers(network)
    cells = [layer for layer in layers if layer.cells]
    return {
        "network": network,
        "name": name,
        "macro": name.upper(),
        "tool": nsc_deploy.__version__,
        "sizes": " -> ".join(str(layer.outputs) for layer in layers),
        "layers": layers,
        "cells": bool(cells),
        "wide": max(2 * layer.words for layer in layers),
        "own": max((2 * layer.own_words for layer in cells), default=0),
    }


def _layers(network: Int8Network) -> list[WrittenLayer]:
    layers: list[WrittenLayer] = []
    inputs, source = network.inputs, "values"
    for index, layer in enumerate(network.layers):
        name, last = f"l{index}", layer is network.layers[-1]
        if isinstance(layer, Dense):
            target, ctype = ("outputs", "int16_t") if last else (f"state->{name}_y", "int8_t")
            layers.append(
                WrittenLayer(name, inputs, layer.outputs, False, source, target, ctype, layer.low, layer.high)
            )
            source = target
        else:
            layers.append(WrittenLayer(name, inputs, layer.outputs, True, source))
            source = f"state->{name}_h"
        inputs = layer.outputs
    return layers
