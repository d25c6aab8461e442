"""Run a chain of integer layers in Lava: `python run_chain.py JOB_DIRECTORY`.

Runs under Python 3.10 with the standard library, numpy, scipy and lava-nc alone. Reads job.json,
network.npz and events.npy, prints how many steps are done whenever it pauses, and writes answer.npz. The
parent has checked every number and watches over time and processes: an exception inside a Lava process
model never reaches this script.

All samples run in one runtime, end to end: the layer with index i meets step k of a sample at Lava's time
step k + 2 + i after the sample's start, so `reset_offset = 2 + i` clears it exactly where a sample begins.
Delays could carry spikes from one sample into the next. Behind the input a gap between the samples prevents
it; behind neurons, which may fire in any gap, what a delayed connection still holds is dropped at its moment.
What a recurrent connection holds is dropped right before its neurons meet a new sample.

Lava hands a Var over value by value, each at the cost of a message between two processes. So the neurons,
which stay Lava's own, write what they computed into files after every step; those are read at the end.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

LONGEST_STRETCH = 200


def main(directory: Path) -> None:
    """Run the job in `directory`."""
    _die_with_parent()
    job = json.loads((directory / "job.json").read_text(encoding="utf-8"))
    with np.load(directory / "network.npz", allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    arrays["events"] = np.load(directory / "events.npy", allow_pickle=False)
    answer = _run(job, arrays, directory)
    temporary = directory / "answer.part.npz"
    np.savez(temporary, **answer)
    temporary.replace(directory / "answer.npz")


def _run(job: dict[str, Any], arrays: dict[str, Any], directory: Path) -> dict[str, Any]:
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.lif.process import LIFReset

    source, connections, recurrent = _build(job, arrays, directory)
    recording = {LIFReset: _neurons_that_record(_lavas())}
    if any(_subtracts(arrays, index) for index in range(job["layers"])):
        recording |= {_ours().SubtractiveLIF: _neurons_that_record(_ours().PySubtractiveLIF)}
    config = Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=recording)
    try:
        done = 0
        for stop in _stops(job, arrays, recurrent):
            source.run(condition=RunSteps(num_steps=stop - done), run_cfg=config)
            done = stop
            for index in _to_clear(job, arrays, done):
                _forget_delayed(connections[index])
            for index in _to_silence(job, recurrent, done):
                _forget_all(recurrent[index])
            print(done, flush=True)
    finally:
        source.stop()
    return {
        f"{name}{index}": _recorded(
            _record_of(directory, index) / name, kind, (done, arrays[f"{index}.vth"].size)
        )
        for index in _shown(job)
        for name, kind in _KEPT.items()
        if name == "s" or job["probe"]
    }


def _shown(job: dict[str, Any]) -> range:
    """The layers to be read back."""
    return range(job["layers"]) if job["probe"] else range(job["layers"] - 1, job["layers"])


# What neurons write, [steps, neurons] each: spikes, u and v.
_KEPT = {"s": np.uint8, "u": np.int32, "v": np.int32}


def _record_of(directory: Path, index: int) -> Path:
    return directory / f"layer{index}"


def _recorded(path: Path, kind: Any, shape: tuple[int, int]) -> Any:
    if not path.is_file() or path.stat().st_size != np.dtype(kind).itemsize * shape[0] * shape[1]:
        raise RuntimeError(f"{path.parent.name}/{path.name} was not recorded whole: is the disk full?")
    return np.fromfile(path, kind).reshape(shape)


def _lavas() -> Any:
    """Lava's own model of LIFReset."""
    from lava.proc.lif.models import PyLifResetModelBitAcc

    return PyLifResetModelBitAcc


def _ours() -> Any:
    """Our process for resets by subtraction, which lies beside this script."""
    if str(Path(__file__).parent) not in sys.path:
        sys.path.insert(0, str(Path(__file__).parent))
    return importlib.import_module("subtractive_lif")


def _subtracts(arrays: dict[str, Any], index: int) -> bool:
    return f"{index}.subtracts" in arrays


def _neurons_that_record(model: Any) -> Any:
    """A model of neurons that also writes what it computed."""

    class Recording(model):  # type: ignore[misc]
        def __init__(self, proc_params: Any) -> None:
            super().__init__(proc_params)
            self._folder = proc_params["record"]
            self._names = proc_params["record_names"]
            self._fired: Any = None

        def reset_voltage(self, spike_vector: Any) -> None:
            super().reset_voltage(spike_vector)
            self._fired = spike_vector

        def run_spk(self) -> None:
            super().run_spk()
            values = {"s": self._fired, "u": self.u, "v": self.v}
            for name in self._names:
                # A process that raises makes Lava wait for ever; a record that is too short is noticed later.
                with contextlib.suppress(OSError), (self._folder / name).open("ab") as file:
                    file.write(np.ascontiguousarray(values[name], _KEPT[name]).tobytes())

    return Recording


def _forget_delayed(connection: Any) -> None:
    """Keep what arrives in the next step, the last of a sample; drop what would arrive in the next sample."""
    buffer = np.array(connection.a_buff.get())
    if buffer.ndim > 1:
        buffer[:, 1:] = 0
        connection.a_buff.set(buffer)


def _forget_all(connection: Any) -> None:
    connection.a_buff.set(np.zeros_like(connection.a_buff.get()))


def _stops(job: dict[str, Any], arrays: dict[str, Any], recurrent: dict[int, Any]) -> list[int]:
    """Time steps after which to pause: after each sample, where a buffer is to be cleared, and often."""
    total = job["interval"] * job["samples"] + job["layers"]
    ends = [job["interval"] * sample for sample in range(1, job["samples"] + 1)]
    clear = [
        step for step in range(1, total) if _to_clear(job, arrays, step) or _to_silence(job, recurrent, step)
    ]
    return sorted({*ends, *clear, *range(LONGEST_STRETCH, total, LONGEST_STRETCH), total})


def _to_clear(job: dict[str, Any], arrays: dict[str, Any], done: int) -> list[int]:
    """Delayed connections behind neurons at which the next step is the last of a sample."""
    return [
        index
        for index in range(1, job["layers"])
        if arrays[f"{index}.delay"].any() and done >= index and (done - index) % job["interval"] == 0
    ]


def _to_silence(job: dict[str, Any], recurrent: dict[int, Any], done: int) -> list[int]:
    """Recurrent layers that meet a new sample in the next step."""
    return [index for index in recurrent if done > index and (done - index - 1) % job["interval"] == 0]


def _build(
    job: dict[str, Any], arrays: dict[str, Any], directory: Path
) -> tuple[Any, list[Any], dict[int, Any]]:
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    source = Source(data=_source_data(job, arrays["events"]))
    port = source.s_out
    connections: list[Any] = []
    recurrent: dict[int, Any] = {}
    for index in range(job["layers"]):
        connection = _connection(arrays, index, "weight")
        neurons = _neurons(job, arrays, index, directory)
        port.connect(connection.s_in)
        connection.a_out.connect(neurons.a_in)
        if f"{index}.recurrent" in arrays or f"{index}.recurrent.values" in arrays:
            recurrent[index] = _connection(arrays, index, "recurrent")
            neurons.s_out.connect(recurrent[index].s_in)
            recurrent[index].a_out.connect(neurons.a_in)
        port = neurons.s_out
        connections.append(connection)
    if job["sink"]:
        port.connect(Sink(shape=port.shape, buffer=source.data.shape[-1]).a_in)
    return source, connections, recurrent


def _source_data(job: dict[str, Any], events: Any) -> Any:
    """[inputs, all steps] from [steps, samples, inputs], a gap behind each sample, the latency behind all."""
    steps, samples, inputs = events.shape
    padded = np.zeros((samples, job["interval"], inputs), np.int32)
    padded[:, :steps] = events.transpose(1, 0, 2)
    flat = padded.reshape(-1, inputs)
    return np.concatenate([flat, np.zeros((job["layers"], inputs), np.int32)]).T.copy()


def _connection(arrays: dict[str, Any], index: int, name: str) -> Any:
    from lava.proc.dense.process import Dense
    from lava.proc.sparse.process import DelaySparse, Sparse
    from lava.utils.weightutils import SignMode
    from scipy.sparse import csr_matrix, issparse

    # MIXED weights lose their lowest bit, which is never set; a mode found by Lava itself would clip others.
    weights = _weights(arrays, f"{index}.{name}")
    common = {
        "weight_exp": int(arrays[f"{index}.weight_exp"]),
        "num_weight_bits": 8,
        "sign_mode": SignMode.MIXED,
    }
    delays = csr_matrix(weights, copy=True)
    delays.data = np.repeat(arrays[f"{index}.delay"], np.diff(delays.indptr)).astype(int)
    if delays.data.any():
        delays.eliminate_zeros()
        return DelaySparse(
            weights=csr_matrix(weights), delays=delays, max_delay=int(delays.data.max()), **common
        )
    if issparse(weights):
        # Messages of one bit are spikes, but Lava then multiplies instead of picking columns at every step.
        return Sparse(weights=weights, num_message_bits=1, **common)
    return Dense(weights=weights, **common)


def _weights(arrays: dict[str, Any], name: str) -> Any:
    """A full array, or the list that stands for one."""
    from scipy.sparse import csr_matrix

    if name in arrays:
        return arrays[name].astype(np.int32)
    values, source, start, sources = (
        arrays[f"{name}.{part}"] for part in ("values", "source", "start", "sources")
    )
    return csr_matrix((values.astype(np.int32), source, start), shape=(len(start) - 1, int(sources)))


def _neurons(job: dict[str, Any], arrays: dict[str, Any], index: int, directory: Path) -> Any:
    from lava.proc.lif.process import LIFReset

    values = {name: arrays[f"{index}.{name}"].astype(np.int32) for name in ("du", "dv", "vth")}
    names: tuple[str, ...] = ()
    if index in _shown(job):
        _record_of(directory, index).mkdir(exist_ok=True)
        names = tuple(_KEPT) if job["probe"] else ("s",)
    kind = _ours().SubtractiveLIF if _subtracts(arrays, index) else LIFReset
    neurons = kind(
        shape=arrays[f"{index}.vth"].shape,
        **values,
        bias_mant=arrays[f"{index}.bias"].astype(np.int32),
        bias_exp=arrays[f"{index}.bias_exp"].astype(np.int32),
        reset_interval=job["interval"],
        reset_offset=2 + index,
    )
    neurons.proc_params["record"] = _record_of(directory, index)
    neurons.proc_params["record_names"] = names
    return neurons


def _die_with_parent() -> None:
    """Take every process of this group down when the parent is gone, even if it was killed with -9."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        # Python's resource tracker outlives this: it removes the shared memory once all others are gone.
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in _others():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _others() -> list[int]:
    """The other processes of this group, without the resource tracker."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            process = int(entry.name)
            tracker = b"resource_tracker" in (entry / "cmdline").read_bytes()
            if process != os.getpid() and os.getpgid(process) == os.getpgrp() and not tracker:
                found.append(process)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
