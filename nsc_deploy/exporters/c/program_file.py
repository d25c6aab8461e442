"""A program as a file of numbers (.npz), read back with every range checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.c.comparators import Comparators
from nsc_deploy.exporters.c.program import (
    Connection,
    Constant,
    Kernel,
    Output,
    Population,
    Program,
    unrolled,
    validate,
)
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.connectivity import KernelAxis
from nsc_deploy.io.npz import load_npz, save_npz

_LIMITS = ("source", "low", "high")
_VECTORS = ("keep_v", "keep_u", "bias", "threshold", "floor", "scale")


def write_program(path: Path, program: Program) -> None:
    """Write a program as .npz: `i.keep_v` and so on of population i, where it has any `i.starts` and
    `i.constants` [starts, size], `i.j.source`, `i.j.delay`, and the weights of its connection j as a list
    ordered by target (`i.j.target`, `i.j.line`, `i.j.weight`); `potentials` where those of neurons that fire
    leave.
    """
    arrays: dict[str, NDArray[Any]] = {
        "names": np.array([program.input, *(one.name for one in program.populations)]),
        "inputs": np.asarray(program.inputs),
        "output": np.array([program.output.source, str(program.output.delay)]),
    }
    if program.output.potentials:
        arrays["potentials"] = np.asarray(1)
    if program.dt is not None:
        arrays["dt"] = np.asarray(program.dt)
    front_end = program.front_end
    if front_end is not None:
        arrays["front_end"] = np.array([front_end.name])
        arrays["front_end.form"] = np.array([front_end.samples, front_end.fraction_bits])
        arrays |= {f"front_end.{name}": getattr(front_end, name) for name in _LIMITS}
    for index, one in enumerate(program.populations):
        arrays[f"{index}.shift"] = np.asarray(one.shift)
        arrays |= {f"{index}.{name}": value for name in _VECTORS if (value := getattr(one, name)) is not None}
        if one.constants:
            arrays[f"{index}.starts"] = np.array([each.start for each in one.constants])
            arrays[f"{index}.constants"] = np.stack([each.value for each in one.constants])
        for number, connection in enumerate(one.connections):
            arrays |= _connection_arrays(f"{index}.{number}", connection)
    save_npz(path, arrays)


def read_program(path: Path) -> Program:
    """Read what `write_program` wrote and check it.

    Raises:
        DataError: missing, damaged, or out of range.
    """
    arrays = load_npz(path)
    try:
        program = _program(arrays)
        validate(program)
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise DataError(f"does not hold a program ({error})", where=path) from error
    except DataError as error:
        raise DataError(error.problem, where=f"{path}: {error.where}") from error
    return program


def _connection_arrays(name: str, connection: Connection) -> dict[str, NDArray[Any]]:
    weight, kernel = connection.weight, connection.kernel
    arrays: dict[str, NDArray[Any]] = {
        f"{name}.source": np.array(connection.source),
        f"{name}.delay": np.asarray(connection.delay),
        f"{name}.shape": np.array(weight.shape),
        f"{name}.target": weight.target.astype(np.int32),
        f"{name}.line": weight.source.astype(np.int32),
        f"{name}.weight": weight.values.astype(np.int8),
    }
    if kernel is not None:
        arrays[f"{name}.kernel"] = kernel.weight.astype(np.int8)
        arrays[f"{name}.groups"] = np.asarray(kernel.groups)
        arrays[f"{name}.axes"] = np.array(
            [(one.inputs, one.kernel, one.stride, *one.padding, one.dilation) for one in kernel.axes]
        )
    return arrays


def _program(arrays: Mapping[str, NDArray[Any]]) -> Program:
    entrance, *names = (str(name) for name in arrays["names"])
    source, delay = (str(part) for part in arrays["output"])
    populations = tuple(_population(arrays, index, name) for index, name in enumerate(names))
    dt = float(arrays["dt"]) if "dt" in arrays else None
    output, front_end = Output(source, int(delay), "potentials" in arrays), None
    if "front_end" in arrays:
        samples, bits = (int(number) for number in arrays["front_end.form"])
        limits = [arrays[f"front_end.{name}"].astype(np.int32) for name in _LIMITS]
        front_end = Comparators(str(arrays["front_end"][0]), samples, bits, *limits)
    return Program(entrance, int(arrays["inputs"]), populations, output, dt, front_end)


def _population(arrays: Mapping[str, NDArray[Any]], index: int, name: str) -> Population:
    connections: list[Connection] = []
    while f"{index}.{len(connections)}.source" in arrays:
        connections.append(_connection(arrays, f"{index}.{len(connections)}"))
    starts, values = arrays.get(f"{index}.starts", ()), arrays.get(f"{index}.constants", ())
    return Population(
        name=name,
        connections=tuple(connections),
        shift=int(arrays[f"{index}.shift"]),
        keep_v=arrays[f"{index}.keep_v"],
        keep_u=arrays.get(f"{index}.keep_u"),
        bias=arrays[f"{index}.bias"],
        threshold=arrays.get(f"{index}.threshold"),
        floor=arrays.get(f"{index}.floor"),
        scale=arrays[f"{index}.scale"],
        constants=tuple(Constant(int(start), value) for start, value in zip(starts, values, strict=True)),
    )


def _connection(arrays: Mapping[str, NDArray[Any]], name: str) -> Connection:
    targets, sources = (int(size) for size in arrays[f"{name}.shape"])
    target, line = arrays[f"{name}.target"], arrays[f"{name}.line"]
    weight = Matrix.from_entries((targets, sources), target, line, arrays[f"{name}.weight"].astype(np.int32))
    kernel = None
    if f"{name}.kernel" in arrays:
        axes = tuple(
            KernelAxis(size, taps, stride, (before, after), dilation)
            for size, taps, stride, before, after, dilation in arrays[f"{name}.axes"].tolist()
        )
        kernel = Kernel(arrays[f"{name}.kernel"].astype(np.int32), axes, int(arrays[f"{name}.groups"]))
        if not unrolled(kernel, sources).equals(weight):
            raise ValueError(f"{name} is not the convolution that it says it is")
    return Connection(str(arrays[f"{name}.source"]), int(arrays[f"{name}.delay"]), weight, kernel)
