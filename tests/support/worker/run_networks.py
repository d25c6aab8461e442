"""Run many small networks in the real Lava: `python run_networks.py JOB_DIRECTORY`.

Runs in the managed Python 3.10 environment. job.json lists groups of networks; the networks of a group are
independent chains in one runtime, tied together only by the source of their messages. After each step u and v
of every population are read back. answer.npz holds `NETWORK.LAYER.s`, `.u` and `.v`, [steps, neurons].
"""

import json
import sys
from pathlib import Path

import numpy as np


def main(directory):
    job = json.loads((directory / "job.json").read_text(encoding="utf-8"))
    sys.path.insert(0, job["worker_folder"])
    import run_chain

    run_chain._die_with_parent()
    with np.load(directory / "arrays.npz", allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    answer = {}
    for number, group in enumerate(job["groups"]):
        answer.update(run_group(group, arrays, job["networks"]))
        print(number + 1, flush=True)
    np.savez(directory / "answer.part.npz", **answer)
    (directory / "answer.part.npz").replace(directory / "answer.npz")


def run_group(group, arrays, networks):
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink

    source, populations = build_group(group, networks, arrays)
    steps = source.data.shape[-1]
    sinks = {}
    for name, population in populations.items():
        sinks[name] = Sink(shape=population.s_out.shape, buffer=steps)
        population.s_out.connect(sinks[name].a_in)
    states = {name: ([], []) for name in populations}
    try:
        for _ in range(steps):
            source.run(condition=RunSteps(num_steps=1), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
            for name, population in populations.items():
                states[name][0].append(population.u.get())
                states[name][1].append(population.v.get())
        spikes = {name: np.asarray(sink.data.get()) for name, sink in sinks.items()}
    finally:
        source.stop()
    answer = {}
    for name, (u, v) in states.items():
        answer[f"{name}.s"] = spikes[name].T
        answer[f"{name}.u"], answer[f"{name}.v"] = np.array(u), np.array(v)
    return answer


def build_group(group, networks, arrays):
    """One source feeds all chains; the first weights of each are zero for the lines of the others."""
    from lava.proc.io.source import RingBuffer as Source

    messages = [arrays[f"{key}.messages"] for key in group]
    source = Source(data=(np.concatenate(messages) if len(group) > 1 else messages[0]).astype(np.int32))
    populations, first = {}, 0
    for key, lines in zip(group, messages, strict=True):
        last = first + lines.shape[0]
        for name in (f"{key}.0.connection.weights", f"{key}.0.connection.delays"):
            if name in arrays and len(group) > 1:
                wide = np.zeros((arrays[name].shape[0], source.data.shape[0]), arrays[name].dtype)
                wide[:, first:last] = arrays[name]
                arrays[name] = wide
        populations.update(build(key, networks[key], arrays, source.s_out))
        first = last
    return source, populations


def build(key, layers, arrays, port):
    populations = {}
    for index, layer in enumerate(layers):
        name = f"{key}.{index}"
        link = connection(layer["connection"], f"{name}.connection", arrays)
        population = neurons(layer["neurons"], f"{name}.neurons", (int(np.prod(link.a_out.shape)),), arrays)
        join(port, link.s_in)
        join(link.a_out, population.a_in)
        if layer["recurrent"]:
            back = connection(layer["recurrent"], f"{name}.recurrent", arrays)
            join(population.s_out, back.s_in)
            join(back.a_out, population.a_in)
        port = population.s_out
        populations[name] = population
    return populations


def join(port, end):
    (port if port.shape == end.shape else port.reshape(end.shape)).connect(end)


def connection(spec, name, arrays):
    from lava.proc.conv.process import Conv
    from lava.proc.dense.process import DelayDense, Dense
    from lava.proc.sparse.process import DelaySparse, Sparse
    from lava.utils.weightutils import SignMode
    from scipy.sparse import csr_matrix

    options = dict(spec["options"])
    kind = spec["process"]
    if kind == "Conv":
        shape = tuple(options.pop("input_shape"))
        pairs = {axis: tuple(options.pop(axis)) for axis in ("padding", "stride", "dilation")}
        return Conv(weight=arrays[f"{name}.weight"], input_shape=shape, **pairs, **options)
    if options["sign_mode"] is None:
        del options["sign_mode"]
    else:
        options["sign_mode"] = SignMode[options["sign_mode"].upper()]
    weights = arrays[f"{name}.weights"]
    if kind in {"Dense", "Sparse"}:
        return {"Dense": Dense, "Sparse": Sparse}[kind](weights=weights, **options)
    delays = arrays[f"{name}.delays"].astype(int)
    if kind == "DelayDense":
        return DelayDense(weights=weights, delays=delays, **options)
    # A synapse without a weight has no delay either: Lava looks up weights where delays are.
    delays = csr_matrix(np.where(weights != 0, delays, 0))
    return DelaySparse(weights=csr_matrix(weights), delays=delays, max_delay=int(delays.max()), **options)


def neurons(spec, name, shape, arrays):
    from lava.proc.lif.process import LIF, LIFReset

    values = {}
    for parameter in ("du", "dv", "vth", "bias_mant", "bias_exp", "u", "v"):
        value = arrays[f"{name}.{parameter}"]
        values[parameter] = int(value) if value.ndim == 0 else value.astype(np.int32).reshape(shape)
    return {"LIF": LIF, "LIFReset": LIFReset}[spec["process"]](shape=shape, **values, **spec["options"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
