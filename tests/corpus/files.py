"""The files that the cases read, made by name: graphs, recordings, data sets, settings, damaged ones.

Nothing of nsc_deploy is imported, so that both versions read the same bytes. What both may write differently,
the description of a chip, is made from the version's own.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]
Node = Any
DT, STEPS, SAMPLES = 1e-3, 16, 10
STATED = {"dt": DT, "reset": "zero", "reset_delay": False, "units": "s"}


def make(name: str, folder: Path, root: Path) -> bool:
    """Write the file called `name` as the version in `root` wants it; False where there is none."""
    path = folder / name
    stem, _, kind = name.partition(".")
    if kind in {"nir", "npz"} and stem in GRAPHS:
        graph = GRAPHS[stem]()
        nir.write(path, graph) if kind == "nir" else record(path, graph)
    elif kind in {"onnx", "npz"} and stem in MODELS:
        onnx.save(model(MODELS[stem]), str(path)) if kind == "onnx" else record_values(path, 6, "events")
    elif name in DAMAGED:
        source, damage = DAMAGED[name]
        make(source, folder, root)
        content = (folder / source).read_bytes()
        path.write_bytes(content)
        damage(path)
    elif name in RECORDINGS:
        np.savez(path, **RECORDINGS[name])
    elif name in TEXTS:
        path.write_text(TEXTS[name], encoding="utf-8")
    elif name in CHIPS:
        text = next(root.glob("nsc_deploy/**/loihi1.toml")).read_text(encoding="utf-8")
        for before, after in CHIPS[name]:
            if before not in text:
                raise ValueError(f"{before!r} is not in the chip's description")
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")
    elif name in SETS:
        SETS[name](path)
    else:
        return False
    return True


def weights(*shape: int, seed: int = 0) -> Array:
    """On a grid, a few of them zero."""
    drawn: Array = np.random.default_rng([seed, *shape]).normal(0.1, 1, shape) * 16 / np.sqrt(shape[-1])
    return np.asarray(np.round(drawn) / 16, np.float32)


def full(shape: int | tuple[int, ...], value: float) -> Array:
    return np.full(shape, value)


def lif(shape: int | tuple[int, ...], decay: float = 0.75, threshold: float = 0.5, **other: float) -> Node:
    tau = DT / (1 - decay)
    rest = {"v_leak": other.get("leak", 0.0), "v_reset": other.get("floor", 0.0)}
    numbers = {"tau": tau, "r": tau / DT, "v_threshold": threshold, **rest}
    return nir.LIF(**{name: full(shape, value) for name, value in numbers.items()})


def cuba(shape: int, **other: float) -> Node:
    numbers = {"tau_syn": 2e-3, "tau_mem": 4e-3, "r": 4.0, "v_leak": 0.0, "v_threshold": 0.5, "w_in": 2.0}
    return nir.CubaLIF(**{name: full(shape, value) for name, value in (numbers | other).items()})


def integrator(shape: int) -> Node:
    return nir.LI(tau=full(shape, 4e-3), r=full(shape, 1.0), v_leak=full(shape, 0.0))


def entry(*shape: int, signal: str | None = "events") -> Node:
    return nir.Input(np.array(shape), metadata={} if signal is None else {"signal": signal})


def leave(*shape: int, **metadata: int) -> Node:
    return nir.Output(np.array(shape), metadata=metadata)


def linear(out: int, size: int, seed: int = 0) -> Node:
    return nir.Linear(weights(out, size, seed=seed))


def affine(out: int, size: int, seed: int = 0) -> Node:
    return nir.Affine(weights(out, size, seed=seed), weights(out, seed=seed) / 4)


def graph(nodes: dict[str, Node], *extra: tuple[str, str], chain: str = "", **metadata: Any) -> nir.NIRGraph:
    """The nodes in a row (of the words in `chain`) with further edges; none=1 states nothing."""
    stated = {} if metadata.pop("none", 0) else STATED | metadata
    row = list(pairwise(chain.split() or nodes))
    return nir.NIRGraph(nodes, [*row, *extra], metadata=stated, type_check=False)


def layers(*sizes: int, neuron: Callable[[int], Node] = lif, prefix: str = "n") -> dict[str, Node]:
    """Linear and neuron for each size after the first."""
    made: dict[str, Node] = {}
    for index, (size, out) in enumerate(pairwise(sizes)):
        made |= {f"w{index}": linear(out, size, index), f"{prefix}{index}": neuron(out)}
    return made


def events(*sizes: int, neuron: Callable[[int], Node] = lif, **stated: Any) -> nir.NIRGraph:
    """Events through layers of neurons; two classes where the outputs are even."""
    ends = leave(sizes[-1], classes=2, group=sizes[-1] // 2)
    return graph({"input": entry(sizes[0]), **layers(*sizes, neuron=neuron), "output": ends}, **stated)


def receiver(*, front: bool, behind: bool) -> nir.NIRGraph:
    """Layers of spikes with real values before them, behind them, or both."""
    nodes: dict[str, Node] = {"input": entry(4 if front else 8, signal="real" if front else "events")}
    if front:
        nodes |= {"levels": affine(8, 4), "cross": nir.Threshold(full(8, 0.25))}
    nodes |= layers(8, 12, 9)
    if behind:
        nodes |= {"scores": affine(2, 9), "integrate": integrator(2)}
    out = 2 if behind else 9
    return graph({**nodes, "output": leave(out, **({"classes": 2, "group": 1} if behind else {}))})


def image(*between: tuple[str, Node], out: tuple[int, ...], signal: str = "events") -> nir.NIRGraph:
    size = int(np.prod(out))
    flat = nir.Flatten({"input": np.array(out)}, 0, -1)
    nodes = {"input": entry(2, 6, 6, signal=signal), **dict(between), "flat": flat}
    return graph({**nodes, **layers(size, 4), "output": leave(4, classes=2, group=2)})


def conv(stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1) -> Node:
    weight = weights(4, 2 // groups, 3, 3)
    return nir.Conv2d((6, 6), weight, stride, padding, dilation, groups, weights(4) / 4)


def pool(kind: Any) -> nir.NIRGraph:
    window = np.array([2, 2])
    squeeze = kind(window, window, np.array([0, 0]))
    return image(("conv", conv(padding=1)), ("spikes", lif((4, 6, 6))), ("pool", squeeze), out=(4, 3, 3))


def sequence() -> nir.NIRGraph:
    slide = nir.Conv1d(8, weights(4, 2, 3), 1, 1, 1, 1, weights(4) / 4)
    flat = nir.Flatten({"input": np.array([4, 8])}, 0, 1)
    nodes = {"input": entry(2, 8), "conv": slide, "spikes": lif((4, 8)), "flat": flat}
    return graph({**nodes, **layers(32, 4), "output": leave(4)})


def nested() -> nir.NIRGraph:
    inner = graph({"input": entry(6, signal=None), **layers(6, 8), "output": leave(8)}, none=1)
    return graph({"input": entry(6), "block": inner, **layers(8, 4, prefix="m"), "output": leave(4)})


def loop(*, delay: bool) -> nir.NIRGraph:
    nodes = {"input": entry(4), **layers(4, 5, 6), "output": leave(6), "back": linear(5, 6, 7)}
    if not delay:
        return graph(nodes, ("n1", "back"), ("back", "n0"), chain="input w0 n0 w1 n1 output")
    late = {"late": nir.Delay(full(5, 2 * DT))}
    edges = (("n1", "back"), ("back", "late"), ("late", "n0"))
    return graph({**nodes, **late}, *edges, chain="input w0 n0 w1 n1 output")


def snntorch(*, recurrent: bool = False) -> nir.NIRGraph:
    def leaky(size: int) -> Node:
        tau = 1e-4 / (1 - 0.9)
        names = {"tau": tau, "r": tau / 1e-4, "v_threshold": 1.0, "v_leak": 0.0, "v_reset": 0.0}
        return nir.LIF(**{name: full(size, value) for name, value in names.items()})

    nodes = {"input": entry(6, signal=None), "0": affine(8, 6), "1": leaky(8), "2": affine(4, 8, 1)}
    nodes |= {"3": leaky(4), "output": leave(4)}
    if recurrent:
        nodes["1_back"] = affine(8, 8, 2)
        return graph(nodes, ("1", "1_back"), ("1_back", "1"), chain="input 0 1 2 3 output", none=1)
    return graph(nodes, none=1)


def norse(neuron: str) -> nir.NIRGraph:
    def single(**values: float) -> dict[str, Array]:
        return {name: np.full(8, value, np.float32) for name, value in values.items()}

    made = {
        "box": lambda: nir.LIF(**single(tau=1e-5, r=1, v_leak=0, v_threshold=0.1, v_reset=0)),
        "synapse": lambda: nir.CubaLIF(
            **single(tau_syn=5e-6, tau_mem=1e-5, r=1, v_leak=0.05, v_threshold=0.5, w_in=1, v_reset=0)
        ),
        "perfect": lambda: nir.IF(**single(r=1, v_threshold=1, v_reset=0)),
    }[neuron]()
    return graph({"input": entry(6, signal=None), "0": affine(8, 6), "1": made, "output": leave(8)}, none=1)


def spikingjelly() -> nir.NIRGraph:
    values = {"tau": 2e-3, "r": 1.0, "v_leak": 0.1, "v_threshold": 1.0, "v_reset": 0.1}
    neuron = nir.LIF(**{name: full(8, value) for name, value in values.items()})
    perfect = nir.IF(r=full(4, 1e3), v_threshold=full(4, 1.0), v_reset=full(4, 0.0))
    nodes = {"x": entry(6, signal=None), "fc": affine(8, 6), "sn": neuron, "fc_1": affine(4, 8)}
    return graph({**nodes, "sn_1": perfect, "output": leave(4)}, none=1)


def scalars() -> nir.NIRGraph:
    numbers = {"tau": 4e-3, "r": 4.0, "v_leak": 0.0, "v_threshold": 0.5, "v_reset": 0.0}
    one = nir.LIF(**{name: np.array([value]) for name, value in numbers.items()})
    return graph({"input": entry(6), "w0": linear(8, 6), "n0": one, "output": leave(8)})


def lost_sum() -> nir.NIRGraph:
    nodes = {"input": entry(6, signal=None), **layers(6, 6), "input_w1": entry(6, signal=None)}
    nodes |= {"w1": linear(6, 6), "n1": lif(6), "output": leave(6)}
    return graph(nodes, ("input_w1", "w1"), ("w1", "n1"), ("n1", "output"), chain="input w0 n0 output")


def dense_with(*, chain: str = "", extra: tuple[tuple[str, str], ...] = (), **nodes: Node) -> nir.NIRGraph:
    """The dense graph with nodes replaced (or added); `chain` names its row."""
    dense = {"input": entry(6), **layers(6, 8, 4), "output": leave(4, classes=2, group=2)}
    return graph({**dense, **nodes}, *extra, chain=chain or "input w0 n0 w1 n1 output")


ROW = "input {} w0 n0 w1 n1 output"
GRAPHS: dict[str, Callable[[], nir.NIRGraph]] = {
    "dense": lambda: events(6, 8, 4),
    "cuba": lambda: events(6, 8, 4, neuron=cuba),
    "perfect": lambda: events(6, 8, 4, neuron=lambda n: nir.IF(r=full(n, 1e3), v_threshold=full(n, 0.5))),
    "threshold": lambda: dense_with(n0=nir.Threshold(full(8, 0.25)), w0=affine(8, 6)),
    "front": lambda: receiver(front=True, behind=False),
    "readout": lambda: receiver(front=False, behind=True),
    "ends": lambda: receiver(front=True, behind=True),
    "middle": lambda: dense_with(n0=integrator(8)),
    "graded": lambda: dense_with(input=entry(6, signal="graded")),
    "recurrent": lambda: dense_with(back=linear(8, 8, 5), extra=(("n0", "back"), ("back", "n0"))),
    "biased-loop": lambda: dense_with(back=affine(8, 8, 5), extra=(("n0", "back"), ("back", "n0"))),
    "loop": lambda: loop(delay=True),
    "undecided": lambda: loop(delay=False),
    "conv1d": sequence,
    "conv2d": lambda: image(("conv", conv(2, 1)), ("spikes", lif((4, 3, 3))), out=(4, 3, 3)),
    "grouped": lambda: image(("conv", conv(1, "same", 2, 2)), ("spikes", lif((4, 6, 6))), out=(4, 6, 6)),
    "stride": lambda: image(("conv", conv(3, 0)), ("spikes", lif((4, 2, 2))), out=(4, 2, 2)),
    "real-image": lambda: image(
        ("conv", conv(2, 1)), ("spikes", lif((4, 3, 3))), out=(4, 3, 3), signal="real"
    ),
    "sumpool": lambda: pool(nir.SumPool2d),
    "avgpool": lambda: pool(nir.AvgPool2d),
    "scale": lambda: dense_with(scale=nir.Scale(np.arange(-2, 4, dtype="f4")), chain=ROW.format("scale")),
    "delay": lambda: dense_with(late=nir.Delay(np.arange(6) * DT), chain=ROW.format("late")),
    "long-delay": lambda: dense_with(late=nir.Delay(full(6, 70 * DT)), chain=ROW.format("late")),
    "part-delay": lambda: dense_with(late=nir.Delay(full(6, 1.5 * DT)), chain=ROW.format("late")),
    "nested": nested,
    "skip": lambda: dense_with(w2=linear(4, 6, 9), extra=(("input", "w2"), ("w2", "n1"))),
    "joined": lambda: dense_with(w2=linear(4, 6, 9), extra=(("input", "w2"), ("w2", "output"))),
    "dead": lambda: dense_with(w2=linear(2, 8), n2=lif(2), extra=(("n0", "w2"), ("w2", "n2"))),
    "two-inputs": lambda: dense_with(other=entry(8), extra=(("other", "n0"),)),
    "two-outputs": lambda: dense_with(other=leave(8), extra=(("n0", "other"),)),
    "wide": lambda: events(1200, 10, 1500),
    "deep": lambda: events(*[12] * 11, neuron=lambda n: nir.IF(r=full(n, 1e3), v_threshold=full(n, 1.0))),
    "subtract": lambda: events(6, 8, 4, reset="subtract"),
    "floor": lambda: events(6, 8, 4, neuron=lambda n: lif(n, floor=-0.25)),
    "leak": lambda: events(6, 8, 4, neuron=lambda n: lif(n, leak=0.125)),
    "at-rest": lambda: events(6, 8, 4, neuron=lambda n: lif(n, leak=0.75)),
    "negative": lambda: events(6, 8, 4, neuron=lambda n: lif(n, threshold=-0.25)),
    "zeros": lambda: dense_with(w0=nir.Linear(np.zeros((8, 6), np.float32))),
    "uneven": lambda: dense_with(w0=nir.Linear(weights(8, 6) * np.logspace(-6, 6, 8)[:, None])),
    "fast": lambda: events(6, 8, 4, neuron=lambda n: lif(n, decay=-0.5)),
    "unstated": lambda: graph(
        {"input": entry(6, signal=None), **layers(6, 8, 4), "output": leave(4)}, none=1
    ),
    "late-reset": lambda: events(6, 8, 4, reset_delay=True),
    "bad-reset": lambda: events(6, 8, 4, reset="never"),
    "bad-dt": lambda: events(6, 8, 4, dt=-1.0),
    "snntorch": snntorch,
    "snntorch-recurrent": lambda: snntorch(recurrent=True),
    "norse-box": lambda: norse("box"),
    "norse-synapse": lambda: norse("synapse"),
    "norse-perfect": lambda: norse("perfect"),
    "spikingjelly": spikingjelly,
    "scalars": scalars,
    "batch": lambda: dense_with(input=entry(1, 6)),
    "added": lambda: dense_with(
        input_w2=entry(6), w2=linear(8, 6, 9), extra=(("input_w2", "w2"), ("w2", "n0"))
    ),
    "lost-sum": lost_sum,
    "misfit": lambda: dense_with(w1=linear(4, 7)),
    "nowhere": lambda: dense_with(extra=(("n0", "gone"),)),
    "no-input": lambda: dense_with(chain="w0 n0 w1 n1 output"),
    "no-output": lambda: dense_with(chain="input w0 n0 w1 n1"),
    "nan": lambda: dense_with(w0=nir.Linear(weights(8, 6) * np.nan)),
    "instant": lambda: dense_with(back=linear(8, 8), n0=nir.Threshold(full(8, 0.25)),
                                  extra=(("n0", "back"), ("back", "n0"))),
}  # fmt: skip


def record(path: Path, graph: nir.NIRGraph) -> None:
    """Inputs for a graph, of its signal and step; its first Input counts."""
    node = next(node for node in graph.nodes.values() if isinstance(node, nir.Input))
    signal = node.metadata.get("signal", "events")
    dt = float(graph.metadata.get("dt", 1e-4 if "0" in graph.nodes else DT))
    record_values(path, *map(int, node.input_type["input"]), signal=signal, dt=dt)


def record_values(path: Path, *shape: Any, signal: str = "events", dt: float = DT) -> None:
    np.savez(path, **recording(*[part for part in shape if isinstance(part, int)], signal=signal, dt=dt))


def recording(*shape: int, signal: str = "events", dt: float = DT, seed: int = 3) -> dict[str, Any]:
    """The arrays of a recording."""
    chance = np.random.default_rng(seed)
    size = (STEPS, SAMPLES, *shape)
    stated: dict[str, Any] = {
        "shape": np.array(size, np.int64),
        "signal": np.frombuffer(signal.encode(), np.uint8),
        "dt": np.array(dt),
        "labels": chance.integers(0, 2, SAMPLES),
    }
    if signal == "events":
        return {**stated, "events": np.packbits((chance.random(size) < 0.3).reshape(-1))}
    drawn = (
        chance.integers(0, 4, size) if signal == "graded" else np.round(chance.normal(0.3, 1, size) * 64) / 64
    )
    return {**stated, "values": drawn.astype(np.float32).reshape(-1)}


def altered(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (recording(6) | changes).items() if value is not None}


RECORDINGS: dict[str, dict[str, Any]] = {
    "other-samples.npz": recording(6, seed=4),
    "other-step.npz": recording(6, dt=0.03),
    "other-shape.npz": recording(5),
    "real-values.npz": recording(6, signal="real"),
    "no-labels.npz": altered(labels=None),
    "odd-labels.npz": altered(labels=np.arange(SAMPLES) + 1),
    "wrong-labels.npz": altered(labels=np.zeros(3, np.int64)),
    "no-events.npz": altered(events=None),
    "no-signal.npz": altered(signal=None),
    "bad-signal.npz": altered(signal=np.frombuffer(b"smoke", np.uint8)),
    "bad-length.npz": altered(shape=np.array([STEPS, SAMPLES, 60])),
    "no-samples.npz": altered(shape=np.array([STEPS, 0, 6]), events=np.zeros(0, np.uint8)),
    "bad-step.npz": altered(dt=np.array(-1.0)),
    "nan-values.npz": recording(6, signal="real")
    | {"values": np.full(STEPS * SAMPLES * 6, np.nan, np.float32)},
    "pickled.npz": {"shape": np.array([{"a": 1}], dtype=object)},
}


# From 6 values a step to 4; a text that names no output stands between two products.
MODELS: dict[str, str] = {
    "mlp": "s = Add(a, b0) h = Relu(s)",
    "gemm": "s = Add(a, b0) t = Sigmoid(s) h = Mul(t, b0)",
    "lstm": "y = LSTM <hidden_size = 5> (input, w_4, r_4, b_4) z = Squeeze(y, one) output = MatMul(z, v)",
    "gru": "y = GRU <hidden_size = 5> (input, w_3, r_3, b_3) z = Squeeze(y, one) output = MatMul(z, v)",
    "rnn": "y = RNN <hidden_size = 5> (input, w_1, r_1, b_1) z = Squeeze(y, one) output = MatMul(z, v)",
    "conv": "t = Transpose <perm = [1, 2, 0]> (input) c = Conv <pads = [1, 1]> (t, kernel, b1) r = Relu(c) "
    "output = Transpose <perm = [2, 0, 1]> (r)",
    "qdq": "q = QuantizeLinear(a, scale, zero) d = DequantizeLinear(q, scale, zero) h = Relu(d)",
    "spiking": "g = Greater(a, limit) h = Cast <to = 1> (g)",
    "norm": "s = LayerNormalization(a, b0, b0) h = Softmax <axis = -1> (s)",
    "mixing": "s = ReduceMean(a, one) h = Add(a, s)",
    "topk": "best, i = TopK <axis = -1> (a, two) h = Sub(a, b0)",
    "if": "h = If (yes) <then_branch = one () => (float[T, N, 8] p) { p = Identity(a) }, "
    "else_branch = other () => (float[T, N, 8] p) { p = Relu(a) }>",
    "unknown": 'h = Einsum <equation = "tnc,c->tnc"> (a, b0)',
    "own": "h = my.own.Own(a)",
    "external": "s = Add(a, elsewhere) h = Relu(s)",
    "infinite": "s = Add(a, endless) h = Relu(s)",
    "narrow": "a = MatMul(input, w0) output = MatMul(a, w_narrow)",
}
CONSTANTS: dict[str, Array] = {
    "w0": weights(6, 8),
    "b0": weights(8),
    "w1": weights(8, 4),
    "b1": weights(4),
    "v": weights(5, 4),
    **{f"w_{gates}": weights(1, gates * 5, 6) for gates in (1, 3, 4)},
    **{f"r_{gates}": weights(1, gates * 5, 5) for gates in (1, 3, 4)},
    **{f"b_{gates}": weights(1, gates * 10) for gates in (1, 3, 4)},
    "kernel": weights(4, 6, 3),
    "scale": np.array(0.05, np.float32),
    "zero": np.array(0, np.int8),
    "limit": np.array(0.25, np.float32),
    "one": np.array([1]),
    "two": np.array([2]),
    "yes": np.array(True),
    "elsewhere": weights(8),
    "endless": np.full(8, np.inf, np.float32),
    "w_narrow": weights(7, 4),
}


def model(text: str) -> onnx.ModelProto:
    """The model of a text, with the constants that it names."""
    inner = text if "output =" in text else f"a = MatMul(input, w0) {text} output = MatMul(h, w1)"
    made = onnx.parser.parse_graph(f"graph (float[T, N, 6] input) => (float[T, N, 4] output) {{ {inner} }}")
    for node in made.node:
        node.name = f"{node.op_type.lower()}-{node.output[0]}"
    named = dict.fromkeys(re.findall(r"\w+", inner))
    made.initializer.extend(
        numpy_helper.from_array(CONSTANTS[name], name) for name in named if name in CONSTANTS
    )
    for tensor in made.initializer:
        if tensor.name == "elsewhere":
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="elsewhere.bin")
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("my.own", 1)]
    return onnx.helper.make_model(
        made, opset_imports=opsets if "my.own" in text else opsets[:1], ir_version=9
    )


def edited(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def replaced(name: str, value: Any) -> Callable[[Path], None]:
    """A NIR file with one value of it replaced, or taken out with None."""

    def change(file: h5py.File) -> None:
        del file[f"node/{name}"]
        if value is not None:
            file[f"node/{name}"] = value

    return edited(change)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def written(content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


def nothing(path: Path) -> None:
    """As it is, under another name."""


DAMAGED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "cut.nir": ("dense.nir", cut),
    "empty.nir": ("dense.nir", written(b"")),
    "text.nir": ("dense.nir", written(b"no graph\n")),
    "onnx.nir": ("mlp.onnx", nothing),
    "nir.onnx": ("dense.nir", nothing),
    "dense.h5": ("dense.nir", nothing),
    "no-weight.nir": ("dense.nir", replaced("nodes/w0/weight", None)),
    "no-threshold.nir": ("dense.nir", replaced("nodes/n0/v_threshold", None)),
    "no-edges.nir": ("dense.nir", replaced("edges", None)),
    "no-nodes.nir": ("dense.nir", replaced("nodes", None)),
    "odd-type.nir": ("dense.nir", replaced("nodes/n0/type", "Perceptron")),
    "text-weight.nir": ("dense.nir", replaced("nodes/w0/weight", "heavy")),
    "vector-weight.nir": ("dense.nir", replaced("nodes/w0/weight", np.ones(6))),
    "negative-tau.nir": ("dense.nir", replaced("nodes/n0/tau", full(8, -1e-3))),
    "infinite-tau.nir": ("dense.nir", replaced("nodes/n0/tau", full(8, np.inf))),
    "wrong-tau.nir": ("dense.nir", replaced("nodes/n0/tau", full(5, 4e-3))),
    "text-step.nir": ("dense.nir", replaced("metadata/dt", "soon")),
    "odd-signal.nir": ("dense.nir", replaced("nodes/input/metadata/signal", "smoke")),
    "huge-shape.nir": ("dense.nir", replaced("nodes/input/shape", np.array([2**40]))),
    "cut.onnx": ("mlp.onnx", cut),
    "text.onnx": ("mlp.onnx", written(b"no graph\n")),
    "empty.onnx": ("mlp.onnx", written(b"")),
    "cut.npz": ("dense.npz", cut),
    "text.npz": ("dense.npz", written(b"no arrays\n")),
    "cut-fsdd.npz": ("fsdd.npz", cut),
}

PRICES = 'name = "mine"\ntitle = "Mine"\nsource = "a table"\nprocess = "28 nm"\nprecision = "int8"\n'
PRICES += 'scope = "Everything."\nbasis = "measured"\nmemory_included = true\n\n[prices]\n'
PRICES += 'ac = { value = 2, unit = "pJ" }\n'
TINY = {
    "synthesis.train": 40,
    "synthesis.test": 20,
    "encoding.bands": 8,
    "encoding.levels": 2,
    "encoding.steps": 8,
}
EXPERIMENT = (
    '[system]\nname = "{}"\nhidden = 8\nsymbols = 8\ngroup = 2\n\n[data]\ndataset = "spoken-digits"\n'
)
EXPERIMENT += "".join(f"{name} = {value}\n" for name, value in TINY.items())
EXPERIMENT += '\n[channel]\nkind = "awgn"\n\n[training]\nepochs = 1\nthreads = 1\n'

TEXTS: dict[str, str] = {
    "profile.toml": PRICES,
    "limited.toml": PRICES + 'mac = { value = 9, unit = "pJ" }\n\n[load_limit]\nsynops_per_second = 10e3\n'
    'of = "core"\nsource = "guessed"\n',
    "odd-profile.toml": PRICES.replace("pJ", "cal"),
    "short-profile.toml": PRICES.replace('basis = "measured"\n', ""),
    "no-toml.toml": "name = [\n",
    "budget.toml": 'over = "p95"\n[limits]\nsynops_per_inference = 1e9\nenergy_uj = 1e9\nneurons = 1000\n',
    "tight.toml": "[limits]\nsynops_per_inference = 10\nsynops_per_second = 10\nenergy_uj = 1e-9\n"
    'neurons = 2\nspikes_per_inference = { most = 1, over = "mean" }\nmemory_bytes = 8\nlatency_steps = 2\n',
    "chip-budget.toml": 'side = "receiver"\nplace = "chip"\ncolumn = "paper"\n[limits]\nneurons = 1000\n',
    "odd-budget.toml": "[limits]\ncoffee = 3\n",
    "odd-over.toml": 'over = "most"\n[limits]\nneurons = 3\n',
    "no-limits.toml": 'over = "mean"\n',
    "bad-report.json": '{"schema_version": 1}\n',
    "no-json.json": "{",
    "vanilla.toml": EXPERIMENT.format("vanilla-snn"),
    "recorded.toml": re.sub(r"synthesis\..*\n", "", EXPERIMENT.format("vanilla-snn")),
    "event.toml": EXPERIMENT.format("att-neurosc"),
    "analog.toml": EXPERIMENT.format("att-neurosc").replace("hidden", 'receiver = "analog"\nhidden'),
    "fc.toml": EXPERIMENT.format("fc"),
    "lstm.toml": EXPERIMENT.format("lstm"),
    "odd-field.toml": EXPERIMENT.format("fc").replace("epochs", "epoch"),
    "odd-value.toml": EXPERIMENT.format("fc").replace("epochs = 1", "epochs = 0"),
    "odd-system.toml": EXPERIMENT.format("transformer"),
}
CHIPS: dict[str, tuple[tuple[str, str], ...]] = {
    "chip.toml": (('name = "loihi1"', 'name = "mine"'),),
    "small-chip.toml": (
        ('name = "loihi1"', 'name = "small"'),
        ("neurons_per_core = { value = 1024", "neurons_per_core = { value = 4"),
        ("cores = { value = 128", "cores = { value = 2"),
    ),
    "odd-chip.toml": (("neurons_per_core = {", "neurons_a_core = {"),),
    "unsourced-chip.toml": (('value = 1024, source = "davies2018", place', "value = 1024, place"),),
    "negative-chip.toml": (("value = 1024", "value = -1"),),
}


def fsdd(path: Path) -> None:
    """Two speakers, ten digits, seven takes each: tones with noise."""
    chance = np.random.default_rng(8)
    names = [(digit, speaker, take) for digit in range(10) for speaker in range(2) for take in range(7)]
    time = np.arange(1600) / 8000
    sounds = [
        2000 * np.sin(2 * np.pi * (200 + 150 * digit + 20 * speaker) * time) + chance.normal(0, 200, 1600)
        for digit, speaker, _ in names
    ]
    labels, speakers, takes = np.array(names).T
    np.savez(
        path,
        audio=np.concatenate(sounds).astype(np.int16),
        offsets=np.arange(len(names) + 1) * 1600,
        labels=labels.astype(np.uint8),
        speakers=speakers,
        index=takes,
        speaker_names=np.array(["ada", "bob"]),
        sample_rate=np.array(8000),
    )


def shd(path: Path) -> None:
    chance = np.random.default_rng(9)
    with h5py.File(path, "w") as file:
        counts = [int(chance.integers(20, 40)) for _ in range(40)]
        times, units = (h5py.vlen_dtype(np.dtype(kind)) for kind in ("float16", "int64"))
        file.create_dataset("spikes/times", (40,), times)
        file.create_dataset("spikes/units", (40,), units)
        for index, count in enumerate(counts):
            file["spikes/times"][index] = np.sort(chance.random(count)).astype(np.float16)
            file["spikes/units"][index] = chance.integers(0, 700, count)
        file["labels"] = np.arange(40) % 20


SETS: dict[str, Callable[[Path], None]] = {"fsdd.npz": fsdd, "shd_train.h5": shd, "shd_test.h5": shd}
