"""The integers of a network in 8 bits as .npz: written, and read back with distrust."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.c.int8.geometry import Windows
from nsc_deploy.exporters.c.int8.network import (
    LARGEST,
    LARGEST_OUTPUT,
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
from nsc_deploy.exporters.c.int8.rounding import MOST_SUM
from nsc_deploy.io.npz import load_npz, save_npz

_KINDS = {
    "dense": Dense,
    "convolution": Convolution,
    "maximum": Maximum,
    "lstm": Lstm,
    "gru": Gru,
    "hard_gru": HardGru,
}
_FIELDS = {"weight": np.int8, "bias": np.int32, "multiplier": np.int32, "shift": np.uint8}
_MOST = 2**24
Arrays = Mapping[str, NDArray[Any]]


def write_int8(path: Path, network: Int8Network) -> None:
    """Write a network: `kinds` and `names` of its layers, `i.j.weight` and so on of product j of layer i."""
    kinds = {kind: name for name, kind in _KINDS.items()}
    arrays: dict[str, NDArray[Any]] = {
        "kinds": np.array([kinds[type(layer)] for layer in network.layers]),
        "names": np.array([layer.name for layer in network.layers]),
        "sizes": np.array([network.inputs, network.classes or 0, network.group, network.whole or 0]),
        "integer": np.array(network.integer),
        "scales": np.array([network.input_scale, network.output_scale]),
    }
    for place, layer in enumerate(network.layers):
        for number, (_, product) in enumerate(products_of(layer)):
            arrays |= {f"{place}.{number}.{name}": getattr(product, name) for name in _FIELDS}
            arrays[f"{place}.{number}.single"] = np.array(product.single)
        if isinstance(layer, Dense | Convolution):
            arrays[f"{place}.limits"] = np.array([layer.low, layer.high])
        if isinstance(layer, HardGru):
            arrays[f"{place}.limits"] = np.array([0, layer.largest])
        if isinstance(layer, Convolution | Maximum):
            groups = layer.groups if isinstance(layer, Convolution) else 1
            one = layer.windows
            parts = (*one.shape, *one.kernel, *one.stride, *one.before, *one.after, *one.dilation, groups)
            arrays[f"{place}.windows"] = np.array(parts)
    save_npz(path, arrays)


def read_int8(path: Path) -> Int8Network:
    """Read what `write_int8` wrote and check it.

    Raises:
        DataError: missing, damaged, or numbers that the C code could overflow with.
    """
    arrays = load_npz(path)
    try:
        network = _network(arrays)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise DataError(f"does not hold a network in 8 bits ({error})", where=path) from error
    except DataError as error:
        raise DataError(error.problem, where=f"{path}: {error.where}") from error
    return network


def _network(arrays: Arrays) -> Int8Network:
    integer = bool(arrays["integer"])
    inputs, classes, group, whole = (int(size) for size in arrays["sizes"])
    input_scale, output_scale = (float(scale) for scale in arrays["scales"])
    kinds, names = ([str(one) for one in arrays[what]] for what in ("kinds", "names"))
    layers: list[Layer] = []
    entering = inputs
    for place, (kind, name) in enumerate(zip(kinds, names, strict=True)):
        layer = _layer(arrays, place, kind, name)
        _require_fits(layer, entering, last=place == len(kinds) - 1, integer=integer)
        layers.append(layer)
        entering = layer.outputs
    if not 0 < inputs <= _MOST or not layers or min(classes, whole) < 0 or group < 1:
        raise DataError("has an impossible size", where="network")
    if not 0 < input_scale < np.inf or not 0 < output_scale < np.inf:
        raise DataError("has scales that are none", where="network")
    if classes and classes * group != entering:
        raise DataError("votes with other outputs than it has", where="network")
    return Int8Network(
        inputs, input_scale, tuple(layers), output_scale, classes or None, group, whole or None, integer
    )


def _layer(arrays: Arrays, place: int, kind: str, name: str) -> Layer:
    if kind == "maximum":
        return Maximum(name, _windows(arrays[f"{place}.windows"])[0])
    first = _product(arrays, f"{place}.0", name)
    if kind in {"dense", "convolution"}:
        low, high = (int(limit) for limit in arrays[f"{place}.limits"])
        if kind == "dense":
            return Dense(name, first, low, high)
        windows, groups = _windows(arrays[f"{place}.windows"])
        return Convolution(name, first, windows, groups, low, high)
    second = _product(arrays, f"{place}.1", name)
    if kind == "hard_gru":
        return HardGru(name, first, second, int(arrays[f"{place}.limits"][1]))
    return Lstm(name, first, second) if kind == "lstm" else Gru(name, first, second)


def _windows(parts: NDArray[Any]) -> tuple[Windows, int]:
    *shape, a, b, c, d, e, f, g, h, i, j, groups = (int(part) for part in parts)
    channels, rows, columns = shape
    one = Windows((channels, rows, columns), (a, b), (c, d), (e, f), (g, h), (i, j))
    small = min(*shape, a, b, c, d, i, j, groups) >= 1 and min(e, f, g, h) >= 0
    if not small or one.inputs > _MOST or max(parts) > _MOST or min(one.places) < 1:
        raise DataError("has impossible windows", where="network")
    if one.places[0] * one.places[1] * one.taps * channels > _MOST:
        raise DataError("has too many windows", where="network")
    return one, groups


def _product(arrays: Arrays, name: str, where: str) -> Product:
    parts = {field: arrays[f"{name}.{field}"] for field in _FIELDS}
    rows = len(parts["weight"])
    for field, dtype in _FIELDS.items():
        if parts[field].dtype != dtype or (field != "weight" and parts[field].shape != (rows,)):
            raise DataError(f"has a {field} of another kind", where=where)
    weight = parts["weight"]
    sums = np.abs(weight.astype(np.int64)).sum(axis=1) * 128 + np.abs(parts["bias"].astype(np.int64))
    if weight.ndim != 2 or not weight.size or sums.max() >= 2**31:
        raise DataError("has sums that could leave 32 bits", where=where)
    if parts["multiplier"].min() < 0 or parts["shift"].min() < 1 or parts["shift"].max() > 62:
        raise DataError("has factors that could leave 64 bits", where=where)
    single = bool(arrays[f"{name}.single"])
    if single and (parts["multiplier"].min() < 2**30 or (parts["multiplier"] % 2**7).any()):
        raise DataError("has factors that are none of single precision", where=where)
    return Product(**parts, single=single)


def _require_fits(layer: Layer, entering: int, *, last: bool, integer: bool) -> None:
    """Refuse a layer that does not take what arrives, or gives out more than its place holds."""
    where = f"layer '{layer.name}'"
    products = [product for _, product in products_of(layer)]
    wanted = layer.windows.inputs if isinstance(layer, Convolution | Maximum) else products[0].weight.shape[1]
    if wanted != entering:
        raise DataError(f"takes {wanted} numbers, and {entering} arrive", where=where)
    if isinstance(layer, Dense | Convolution):
        most = (MOST_SUM if integer else LARGEST_OUTPUT) if last else LARGEST
        if not -most <= layer.low <= 0 <= layer.high <= most:
            raise DataError("has limits beyond its bits", where=where)
    if isinstance(layer, Convolution):
        rows, width = layer.product.weight.shape
        channels = layer.windows.shape[0]
        if channels % layer.groups or rows % layer.groups:
            raise DataError("has channels that its groups do not share", where=where)
        if width != channels // layer.groups * layer.windows.taps:
            raise DataError("has weights of another size", where=where)
    if isinstance(layer, Recurrent):
        gates = 4 if isinstance(layer, Lstm) else 3
        one, two = (product.weight.shape for product in products)
        if one[0] != gates * two[1] or two[0] != one[0]:
            raise DataError("has weights of another number of gates", where=where)
    if isinstance(layer, HardGru):
        factors = [{*zip(one.multiplier.tolist(), one.shift.tolist(), strict=True)} for one in products]
        plain = all(one.single for one in products) and [len(one) for one in factors] == [1, 1]
        if not plain or not 1 <= layer.largest <= LARGEST or products[1].bias.any():
            raise DataError("has gates without a form", where=where)
