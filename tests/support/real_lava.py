"""Networks of the emulator in the real Lava: many small ones in one worker process."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.emulator.network import Network
from nsc_deploy.exporters.lava.emulator.simulate import LayerTrace, simulate
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.exporters.lava.worker import WORKER, watch_worker
from nsc_deploy.io.files import write_json
from nsc_deploy.io.npz import load_npz

NETWORK_WORKER = Path(__file__).parent / "worker" / "run_networks.py"
NEURON_VALUES = ("du", "dv", "vth", "bias_mant", "bias_exp", "u", "v")


@dataclass(frozen=True)
class Case:
    """A network and what it is fed: messages [steps, sources]."""

    name: str
    network: Network
    messages: NDArray[Any]


Answers = tuple[list[Case], list[tuple[LayerTrace, ...]]]


def run_in_real_lava(cases: Sequence[Case], *, group: int = 4) -> list[tuple[LayerTrace, ...]]:
    """Traces of every layer in Lava's time, as `simulate` gives them for a batch of one sample."""
    with tempfile.TemporaryDirectory(prefix="nsc-deploy-conformance-") as name:
        directory = Path(name)
        write_cases(directory, cases, group)
        watch_worker(directory, silence_s=1200.0, worker=NETWORK_WORKER)
        answer = load_npz(directory / "answer.npz")
    return [
        tuple(
            LayerTrace(*(answer[f"{key}.{index}.{what}"][:, None] for what in "suv"))
            for index in range(len(case.network.layers))
        )
        for key, case in enumerate(cases)
    ]


def write_cases(directory: Path, cases: Sequence[Case], group: int) -> None:
    """job.json and arrays.npz; networks of as many steps share a runtime, but those that take an image."""
    arrays: dict[str, NDArray[Any]] = {}
    networks: dict[str, Any] = {}
    for key, case in enumerate(cases):
        layers = [
            {
                part: _process(getattr(layer, part), f"{key}.{index}.{part}", arrays)
                for part in ("connection", "neurons", "recurrent")
            }
            for index, layer in enumerate(case.network.layers)
        ]
        networks[str(key)] = layers
        shape = getattr(case.network.layers[0].connection, "input_shape", (case.messages.shape[1],))
        arrays[f"{key}.messages"] = case.messages.T.reshape(*shape, -1)
    groups = []
    for steps in sorted({len(case.messages) for case in cases}):
        alike = [str(key) for key, case in enumerate(cases) if len(case.messages) == steps]
        images = [key for key in alike if networks[key][0]["connection"]["process"] == "Conv"]
        lines = [key for key in alike if key not in images]
        groups += [[key] for key in images]
        groups += [lines[first : first + group] for first in range(0, len(lines), group)]
    np.savez(directory / "arrays.npz", **arrays)
    write_json(
        directory / "job.json",
        {"worker_folder": str(WORKER.parent), "groups": groups, "networks": networks},
    )


def _process(process: Any, name: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any] | None:
    """A process as JSON; its arrays go into `arrays`."""
    if process is None:
        return None
    options = {}
    for field in fields(process):
        value = getattr(process, field.name)
        if field.name in {"weights", "weight", "delays", *NEURON_VALUES}:
            value = value.dense() if isinstance(value, Matrix) else np.asarray(value)
            arrays[f"{name}.{field.name}"] = _full(process, value) if field.name == "delays" else value
        elif field.name != "size":
            options[field.name] = value
    return {"process": type(process).__name__, "options": options}


def _full(connection: Any, delays: Any) -> NDArray[Any]:
    return np.broadcast_to(delays, connection.weights.shape).copy()


def differences(cases: Sequence[Case], real: Sequence[tuple[LayerTrace, ...]]) -> list[str]:
    """One line for each case in which the emulator differs from what Lava answered."""
    found = []
    for case, traces in zip(cases, real, strict=True):
        ours = simulate(case.network, case.messages[:, None], threads=1)
        for index, (mine, theirs) in enumerate(zip(ours, traces, strict=True)):
            for what in ("spikes", "current", "potential"):
                unequal = getattr(mine, what) != getattr(theirs, what)
                if unequal.any():
                    step, _, neuron = np.argwhere(unequal)[0]
                    at = (step, 0, neuron)
                    found.append(
                        f"{case.name}: {what} of layer {index}, neuron {neuron}, step {step}: "
                        f"{getattr(mine, what)[at]} for {getattr(theirs, what)[at]}"
                    )
    return found
