"""An integer network as a file of numbers (.npz), read back with every range checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.integers import Group, IntegerLayer, IntegerNetwork, kept_sparse, validate
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.io.files import load_npz, save_npz

VECTORS = ("delay", "du", "dv", "vth", "bias", "bias_exp")


def write_integers(path: Path, network: IntegerNetwork) -> None:
    """Write the numbers of a network as .npz (the groups belong into the manifest).

    Layer `i` has the vectors `i.delay` and so on. Its weights are the array `i.weight` [out, in] or, where
    that would be large and mostly zero, a list: `i.weight.values` and `i.weight.source` of each synapse,
    ordered by target, and `i.weight.start`, where the list of each target begins. `i.recurrent` likewise.
    """
    arrays: dict[str, NDArray[Any]] = {"dt": np.asarray(network.dt)}
    for index, layer in enumerate(network.layers):
        arrays |= _weight_arrays(f"{index}.weight", layer.weight)
        if layer.recurrent is not None:
            arrays |= _weight_arrays(f"{index}.recurrent", layer.recurrent)
        arrays |= {f"{index}.{name}": getattr(layer, name) for name in VECTORS}
        arrays[f"{index}.weight_exp"] = np.asarray(layer.weight_exp)
    save_npz(path, arrays)


def read_integers(path: Path, groups: tuple[tuple[Group, ...], ...]) -> IntegerNetwork:
    """Read what `write_integers` wrote and check it.

    Raises:
        DataError: missing, damaged, or out of range.
    """
    arrays = load_npz(path)
    held = {name.split(".", maxsplit=1)[0] for name in arrays} - {"dt"}
    if held != {str(index) for index in range(len(groups))}:
        raise DataError(f"holds {len(held)} layers where the manifest names {len(groups)}", where=path)
    try:
        layers = tuple(_layer(arrays, index, layer_groups) for index, layer_groups in enumerate(groups))
        network = IntegerNetwork(layers, float(arrays["dt"]))
        validate(network)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"does not hold the layers the manifest names ({error})", where=path) from error
    except DataError as error:
        raise DataError(error.problem, where=f"{path}: {error.where}") from error
    return network


def _weight_arrays(name: str, weight: Matrix) -> dict[str, NDArray[Any]]:
    if not kept_sparse(weight):
        return {name: weight.dense()}
    start = np.searchsorted(weight.target, np.arange(weight.shape[0] + 1))
    return {
        f"{name}.values": weight.values,
        f"{name}.source": weight.source.astype(np.int32),
        f"{name}.start": start.astype(np.int32),
        f"{name}.sources": np.asarray(weight.shape[1]),
    }


def _layer(arrays: Mapping[str, NDArray[Any]], index: int, groups: tuple[Group, ...]) -> IntegerLayer:
    recurrent = f"{index}.recurrent"
    cyclic = recurrent in arrays or f"{recurrent}.values" in arrays
    return IntegerLayer(
        weight=_weight(arrays, f"{index}.weight"),
        **{name: arrays[f"{index}.{name}"] for name in VECTORS},
        weight_exp=int(arrays[f"{index}.weight_exp"]),
        groups=groups,
        recurrent=_weight(arrays, recurrent) if cyclic else None,
    )


def _weight(arrays: Mapping[str, NDArray[Any]], name: str) -> Matrix:
    """The weights called `name`.

    Raises:
        KeyError: there are none.
        ValueError: a list that is no list of synapses.
    """
    if f"{name}.values" not in arrays:
        full = arrays[name]
        if full.ndim != 2:
            raise ValueError(f"{name} has {full.ndim} dimensions")
        return Matrix.of(full)
    values, source, start = (arrays[f"{name}.{part}"] for part in ("values", "source", "start"))
    sources = int(arrays[f"{name}.sources"])
    if (
        not values.ndim == source.ndim == start.ndim == 1
        or len(values) != len(source)
        or len(start) < 2
        or start[0] != 0
        or start[-1] != len(values)
        or (np.diff(start) < 0).any()
        or (len(source) and not 0 <= source.min() <= source.max() < sources)
    ):
        raise ValueError(f"{name} is no list of synapses")
    target = np.repeat(np.arange(len(start) - 1), np.diff(start))
    return Matrix.from_entries((len(start) - 1, sources), target, source, values)
