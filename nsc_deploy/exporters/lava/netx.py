"""The network file that lava-dl's netx reads (HDF5), written with h5py alone.

netx chains layers and takes weights as whole numbers without an exponent; it works out bits, exponent and
sign mode by itself. `as_netx_reads` repeats that, so a layer it would misread is found here.
"""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.emulator.connections import scaled_weights
from nsc_deploy.exporters.lava.integers import (
    DECAY_UNITY,
    FIXED_POINT_BITS,
    NO_CURRENT,
    IntegerLayer,
    IntegerNetwork,
    kept_sparse,
)
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.io.files import write_bytes
from nsc_deploy.io.text import counted

LARGEST_FULL = 2**26


def obstacle(network: IntegerNetwork) -> str | None:
    """Why netx could not hold the network, or None."""
    for index, layer in enumerate(network.layers):
        if layer.subtracts:
            return f"netx has no neurons that reset by subtraction, as those of layer {index} do"
        for weight in _parts(layer):
            places = weight.shape[0] * weight.shape[1]
            if kept_sparse(weight) or places > LARGEST_FULL:
                return (
                    f"netx holds full matrices, and layer {index} would have {places:,} weights; its "
                    "convolutions have one kernel for all places, where each neuron here has its own scale"
                )
        if layer.recurrent is not None and layer.delay.any():
            return f"netx gives both connections of layer {index} the same delays"
        full = [weight.dense() for weight in _parts(layer)]
        read = as_netx_reads(*full)
        if not all(np.array_equal(one, other) for one, other in zip(read, full, strict=True)):
            return f"netx would change the weights of layer {index} while it fits them to 8 bits"
    return None


def _parts(layer: IntegerLayer) -> list[Matrix]:
    """The weights of a layer: from the layer before, and where there is a cycle from itself."""
    return [layer.weight] if layer.recurrent is None else [layer.weight, layer.recurrent]


def held(network: IntegerNetwork) -> IntegerNetwork:
    """The integers that the network file holds, without weight exponents."""
    return replace(network, layers=tuple(map(_held_layer, network.layers)))


def difference(network: IntegerNetwork) -> str | None:
    """What the network file holds less exactly than the deployment, or None where nothing."""
    found = []
    for index, (layer, file) in enumerate(zip(network.layers, held(network).layers, strict=True)):
        if layer.weight_exp == 0 and _whole(layer).all():
            continue
        unit, relative = 2.0**layer.weight_exp, np.maximum(layer.vth, 1)
        forgets = _forgets(layer)
        falsified = ~forgets & ~(_sums_are_whole(layer) & _whole(layer))
        threshold = np.where(falsified, layer.vth - file.vth * unit, 0) / relative
        if threshold.max() > 0:
            found.append(f"thresholds of layer {index} are lower by up to {threshold.max():.2%}")
        bias = np.where(forgets, 0, np.abs(file.bias - _exact_bias(layer))) * unit / relative
        if bias.max() > 0:
            found.append(f"biases of layer {index} are off by up to {bias.max():.2%} of the threshold a step")
        if layer.weight_exp and not _sums_are_whole(layer).all():
            found.append(f"potentials of layer {index} are coarser by {counted(layer.weight_exp, 'bit')}")
    return f"netx has no weight exponent, so {'; '.join(found)}" if found else None


def _held_layer(layer: IntegerLayer) -> IntegerLayer:
    """A layer in whole weight units; the exponent of a bias is fixed at 6.

    Thresholds are rounded down, which changes nothing where sums are whole weight units. Without memory a
    bias that is none moves into the threshold first, and what is below zero of that becomes the bias.
    """
    bias = np.rint(_exact_bias(layer))
    exact = layer.vth >> layer.weight_exp
    level = np.floor(layer.vth / 2.0**layer.weight_exp - _exact_bias(layer))
    moved = _forgets(layer) & ~_whole(layer)
    threshold = np.where(moved, np.maximum(level, 0), exact)
    bias = np.where(moved, threshold - level, bias)
    return replace(
        layer,
        vth=threshold.astype(np.int32),
        bias=bias.astype(np.int32),
        bias_exp=np.full_like(layer.bias_exp, FIXED_POINT_BITS),
        weight_exp=0,
    )


def _forgets(layer: IntegerLayer) -> NDArray[np.bool_]:
    """Which neurons carry nothing from one step to the next."""
    forgets: NDArray[np.bool_] = (layer.dv == DECAY_UNITY) & (layer.du == NO_CURRENT)
    return forgets


def _sums_are_whole(layer: IntegerLayer) -> NDArray[np.bool_]:
    """Which neurons lose all or nothing of what they carry, so that weights add up to whole units in them."""
    whole: NDArray[np.bool_] = np.isin(layer.dv, (0, DECAY_UNITY)) & (layer.du == NO_CURRENT)
    return whole


def _whole(layer: IntegerLayer) -> NDArray[np.bool_]:
    """Which biases are whole weight units."""
    exact = _exact_bias(layer)
    whole: NDArray[np.bool_] = exact == np.rint(exact)
    return whole


def _exact_bias(layer: IntegerLayer) -> NDArray[np.float64]:
    """Biases in weight units."""
    exact: NDArray[np.float64] = layer.bias * 2.0 ** (layer.bias_exp - FIXED_POINT_BITS - layer.weight_exp)
    return exact


def write_netx(path: Path, network: IntegerNetwork) -> None:
    """Write the network file, whole or not at all.

    `layer/0` is the input; the layers follow. Decays are written the way netx takes them back:
    iDecay = du + 1, vDecay = dv.
    """
    import h5py

    # In memory first: the HDF5 library takes the process down with it when its own writes fail.
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        _start_layer(file, 0, "input", network.inputs)
        for index, layer in enumerate(held(network).layers, start=1):
            kind = "dense" if layer.recurrent is None else "dense_rec"
            group = _start_layer(file, index, kind, layer.neurons)
            group["inFeatures"] = layer.inputs
            group["outFeatures"] = layer.neurons
            group["weight"] = layer.weight.dense()
            if layer.recurrent is not None:
                group["weight_rec"] = layer.recurrent.dense()
            if layer.bias.any():
                group["bias"] = layer.bias
            if layer.delay.any():
                group["delay"] = np.repeat(layer.delay[:, None], layer.inputs, axis=1)
            neuron = group.create_group("neuron")
            neuron["type"] = np.array([b"CUBA"], dtype="S10")
            neuron["iDecay"] = _one_or_many(layer.du + 1)
            neuron["vDecay"] = _one_or_many(layer.dv)
            neuron["vThMant"] = _one_or_many(layer.vth)
            neuron["refDelay"] = 1
            neuron["gradedSpike"] = False
    write_bytes(path, content.getvalue())


def _start_layer(file: Any, index: int, kind: str, size: int) -> Any:
    group = file.create_group(f"layer/{index}")
    group["type"] = np.array([kind.encode()], dtype="S10")
    group["shape"] = np.array([size])
    return group


def _one_or_many(values: NDArray[np.int32]) -> NDArray[np.int32] | int:
    """One number where all neurons share it: the only form on which netx and the chip agree."""
    return int(values[0]) if (values == values[0]).all() else values


def as_netx_reads(*weights: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """The effective weights: netx fits them together, and Lava's Dense truncates each by itself.

    Args:
        weights: of a layer, the recurrent ones last.
    """
    whole = np.concatenate(weights, axis=1)
    low, high = int(whole.min()), int(whole.max())
    if low == high == 0:
        return [weight + 1 for weight in weights]  # netx divides by zero here
    signed = int(not (high < 0 or low >= 0))
    if signed:
        scale = min(127 / high if high > 0 else np.inf, -128 / low)
    else:
        scale = -256 / low if high < 0 else 255 / high
    shift = int(np.floor(np.log2(scale))) + signed
    zeros = next(bits for bits in range(8, -1, -1) if not (whole % 2**bits).any())
    bits = 8 - shift - (zeros - signed)
    return [scaled_weights(weight << shift, None, bits) >> shift for weight in weights]
