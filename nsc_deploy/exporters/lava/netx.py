"""The network file that lava-dl's netx reads (HDF5), written with h5py alone.

netx chains layers and takes weights as whole numbers without an exponent; it works out bits, exponent and
sign mode by itself. `as_netx_reads` repeats that, so a layer it would misread is found here.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.emulator.connections import scaled_weights
from nsc_deploy.exporters.lava.integers import FIXED_POINT_BITS, IntegerLayer, IntegerNetwork, kept_sparse
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.io.files import write_bytes

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


def difference(network: IntegerNetwork) -> str | None:
    """What the network file holds less exactly than the deployment, or None where nothing."""
    found = []
    for index, layer in enumerate(network.layers):
        unit = 2.0**layer.weight_exp
        threshold = np.abs(netx_threshold(layer) * unit - layer.vth) / np.maximum(layer.vth, 1)
        if threshold.max() > 0:
            found.append(f"thresholds of layer {index} by up to {threshold.max():.2%}")
        bias = np.abs(netx_bias(layer) - _exact_bias(layer)) * unit / np.maximum(layer.vth, 1)
        if bias.max() > 0:
            found.append(f"biases of layer {index} by up to {bias.max():.2%} of the threshold a step")
    if not found:
        return None
    return f"netx has no weight exponent, so thresholds and biases are rounded to weights: {'; '.join(found)}"


def netx_threshold(layer: IntegerLayer) -> NDArray[np.int32]:
    """The thresholds in whole weight units; a relay's stays below its weight."""
    # Half a unit goes down: half of a relay's even weight must stay below the weight.
    rounded: NDArray[np.int32] = np.ceil(layer.vth / 2.0**layer.weight_exp - 0.5).astype(np.int32)
    return rounded


def netx_bias(layer: IntegerLayer) -> NDArray[np.int32]:
    """The biases in whole weight units: netx fixes their exponent at 6."""
    rounded: NDArray[np.int32] = np.rint(_exact_bias(layer)).astype(np.int32)
    return rounded


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
        for index, layer in enumerate(network.layers, start=1):
            kind = "dense" if layer.recurrent is None else "dense_rec"
            group = _start_layer(file, index, kind, layer.neurons)
            group["inFeatures"] = layer.inputs
            group["outFeatures"] = layer.neurons
            group["weight"] = layer.weight.dense()
            if layer.recurrent is not None:
                group["weight_rec"] = layer.recurrent.dense()
            if layer.bias.any():
                group["bias"] = netx_bias(layer)
            if layer.delay.any():
                group["delay"] = np.repeat(layer.delay[:, None], layer.inputs, axis=1)
            neuron = group.create_group("neuron")
            neuron["type"] = np.array([b"CUBA"], dtype="S10")
            neuron["iDecay"] = _one_or_many(layer.du + 1)
            neuron["vDecay"] = _one_or_many(layer.dv)
            neuron["vThMant"] = _one_or_many(netx_threshold(layer))
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
