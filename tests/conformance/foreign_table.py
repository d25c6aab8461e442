"""Networks of other frameworks, written by their own exporters and read here: how many come back exact.

    make test-peers                                # asserts that none is wrong without a word
    python -m tests.conformance.foreign_table      # prints the table of docs/other-frameworks.md

A framework that is not installed is left out.
"""

import importlib.util
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch.nn import Conv2d, Flatten, Linear, Sequential

from nsc_deploy.errors import UserError
from nsc_deploy.exporters.mend import mend_file
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.writers.statement import Maker, Statement
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate
from tests.support.foreign import events, full

EXACT, MENDED, REFUSED, WRONG = "exact as written", "exact after mend", "refused by name", "wrong"


@dataclass(frozen=True)
class Model:
    """One network of a framework: its graph, its outputs, and what is known of it."""

    framework: str
    name: str
    shape: tuple[int, ...]
    graph: Callable[[], Any]
    outputs: Callable[[Any], Any]
    dt: float
    reset: Reset
    known: dict[str, Any] = field(default_factory=dict)

    @property
    def maker(self) -> Maker:
        return Maker(self.framework.lower())


def verdict(model: Model, folder: Path) -> str:
    """How a network comes back, of the four."""
    values = events(model.shape)
    wanted = np.asarray(model.outputs(values))
    assert wanted.any()
    raw = folder / "raw.nir"
    nir.write(raw, model.graph(), compression=None)
    told: tuple[Any, ...] | None = None
    try:
        network = read_network(raw, dt=model.dt, reset=model.reset, signal=Signal.EVENTS)
        told = network.diagnostics
        if np.array_equal(simulate(network, values).output, wanted):
            return EXACT
    except UserError:
        pass
    if told == ():
        return WRONG
    np.save(folder / "x.npy", values)
    np.save(folder / "y.npy", wanted)
    known = Statement(signal=Signal.EVENTS, **model.known)
    try:
        mend_file(
            raw, model.maker, known, folder / "m.nir", inputs=folder / "x.npy", outputs=folder / "y.npy"
        )
    except UserError:
        return REFUSED
    return MENDED


def installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


def seeded(*layers: Callable[[], Any]) -> Any:
    torch.manual_seed(5)
    return Sequential(*(layer() for layer in layers))


def stepwise(model: Any, reset: Callable[[], None]) -> Callable[[Any], Any]:
    def outputs(values: Any) -> Any:
        reset()
        with torch.no_grad():
            return np.stack([model(torch.from_numpy(step)).numpy() for step in values])

    return outputs


def snntorch_models() -> Iterator[Model]:
    import snntorch
    from snntorch.export_nir import export_to_nir

    zero = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
    late = {"reset_mechanism": "subtract", "reset_delay": True, "init_hidden": True}

    def leaky(n: Any, **options: Any) -> Callable[[], Any]:
        return lambda: snntorch.Leaky(beta=full(n, 0.9), threshold=full(n, 1.0), **{**zero, **options})

    def dense(a: int, b: int) -> Callable[[], Any]:
        return lambda: Linear(a, b)

    alike = {"beta": full(12, 0.9), "threshold": full(12, 1.0)}
    nets: dict[str, tuple[Any, dict[str, Any]]] = {
        "leaky, zero": (seeded(dense(10, 12), leaky(12), dense(12, 6), leaky(6)), {"reset": Reset.ZERO}),
        "leaky, default reset": (
            seeded(dense(10, 12), leaky(12, **late), dense(12, 6), leaky(6, **late)),
            {},
        ),
        "synaptic": (
            seeded(dense(10, 12), lambda: snntorch.Synaptic(alpha=full(12, 0.7), **alike, **zero)),
            {"reset": Reset.ZERO},
        ),
        "recurrent with a bias": (
            seeded(dense(10, 12), lambda: snntorch.RLeaky(linear_features=12, **alike, **zero)),
            {"reset": Reset.ZERO},
        ),
        "graded spikes inside": (
            seeded(dense(10, 12), leaky(12, graded_spikes_factor=2), dense(12, 6), leaky(6)),
            {"reset": Reset.ZERO, "said": {"1.graded_spikes_factor": "2"}},
        ),
        "inhibition": (seeded(dense(10, 12), leaky(12, inhibition=True)), {"reset": Reset.ZERO}),
        "no reset": (
            seeded(dense(10, 12), leaky(12, reset_mechanism="none")),
            {"said": {"reset_mechanism": "none"}},
        ),
    }
    for name, (net, known) in nets.items():

        def reset(net: Any = net) -> None:
            for module in net.modules():
                if hasattr(module, "reset_mem"):
                    module.reset_mem()

        graph = lambda net=net: export_to_nir(net, torch.zeros(1, 10), ignore_dims=[0])  # noqa: E731
        how = known.get("reset", Reset.SUBTRACT)
        yield Model("snnTorch", name, (10,), graph, stepwise(net, reset), 1e-4, how, known)


def norse_models() -> Iterator[Model]:
    import norse.torch as norse
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.functional.reset import reset_subtract

    def box(n: int, **options: Any) -> Any:
        values = {"tau_mem_inv": full(n, 100.0), "v_th": full(n, 0.1), "v_leak": full(n, 0.0)}
        method = {key: options.pop(key) for key in ("reset_method",) if key in options}
        return norse.LIFBoxCell(norse.LIFBoxParameters(**{**values, **options}, **method))

    leak = {"v_leak": full(12, 0.05), "v_th": full(12, 0.2), "v_reset": full(12, 0.02)}
    cuba = norse.LIFParameters(
        tau_syn_inv=full(12, 200.0), tau_mem_inv=full(12, 100.0), v_leak=full(12, 0.0), v_th=full(12, 0.5)
    )
    subtract = {"reset_method": "reset_subtract"}
    nets: dict[str, tuple[Callable[[], list[Any]], dict[str, Any]]] = {
        "box": (lambda: [Linear(10, 12), box(12), Linear(12, 6), box(6)], {}),
        "box, one number": (lambda: [Linear(10, 12), norse.LIFBoxCell(), Linear(12, 6), box(6)], {}),
        "box, subtract": (
            lambda: [Linear(10, 12), box(12, reset_method=reset_subtract)],
            {"said": subtract},
        ),
        "synapse": (lambda: [Linear(10, 12), norse.LIFCell(cuba)], {}),
        "integrators": (
            lambda: [Linear(10, 12), norse.IAFCell(IAFParameters(v_th=full(12, 1.0)))],
            {},
        ),
        "leak and reset potentials": (
            lambda: [Linear(10, 12), box(12, **leak)],
            {"said": {"v_reset": "0.02"}},
        ),
    }
    for name, (make, known) in nets.items():
        torch.manual_seed(3)
        net = norse.SequentialState(*make())

        def outputs(values: Any, net: Any = net) -> Any:
            state, found = None, []
            with torch.no_grad():
                for step in values:
                    output, state = net(torch.from_numpy(step), state)
                    found.append(output.numpy())
            return np.stack(found)

        graph = lambda net=net: norse.to_nir(net, torch.zeros(10))  # noqa: E731
        how = Reset.SUBTRACT if known.get("said") == subtract else Reset.ZERO
        yield Model("Norse", name, (10,), graph, outputs, 1e-6, how, {"dt": 1e-3, **known})


def spikingjelly_models() -> Iterator[Model]:
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    cells = {
        "IF": neuron.IFNode,
        "IF, reset below": lambda: neuron.IFNode(v_reset=-0.25),
        "LIF": lambda: neuron.LIFNode(v_threshold=0.25),
        "LIF, input whole": lambda: neuron.LIFNode(tau=4.0, decay_input=False),
        "parametric": lambda: neuron.ParametricLIFNode(v_threshold=0.25),
        "current-based": lambda: neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75),
    }
    for name, cell in cells.items():
        net = seeded(lambda: Linear(10, 12), cell)
        with torch.no_grad():
            for weight in net[0].parameters():
                weight.copy_(torch.round(weight * 16) / 16)
        reset = lambda net=net: functional.reset_net(net)  # noqa: E731
        graph = lambda net=net: export_to_nir(net, torch.zeros(1, 10), dt=1e-4)  # noqa: E731
        yield Model("SpikingJelly", name, (10,), graph, stepwise(net, reset), 1e-4, Reset.ZERO)


def sinabs_models() -> Iterator[Model]:
    import sinabs.nir
    from sinabs import activation, layers

    single = {"spike_fn": activation.SingleSpike, "batch_size": 1}

    def lif(n: int, **options: Any) -> Callable[[], Any]:
        values = {"tau_mem": full(n, 20.0), "spike_threshold": full(n, 0.1), **single}
        return lambda: layers.LIFSqueeze(**{**values, **options})

    def iaf(**options: Any) -> Callable[[], Any]:
        return lambda: layers.IAFSqueeze(**{**single, **options})

    def dense(a: int, b: int) -> Callable[[], Any]:
        return lambda: Linear(a, b)

    many = {"spike_fn": activation.MultiSpike}
    image = (lambda: Conv2d(1, 3, 3, padding=1), lambda: layers.SumPool2d(2), Flatten, dense(48, 5))
    flat, two = (10,), (dense(10, 12), dense(12, 6))
    reset = {"reset_fn": activation.MembraneReset()}
    nets: dict[str, tuple[Any, tuple[int, ...], dict[str, Any]]] = {
        "LIF": (seeded(two[0], lif(12), two[1], lif(6)), flat, {}),
        "LIF, input whole": (
            seeded(two[0], lif(12, norm_input=False, spike_threshold=full(12, 1.0))),
            flat,
            {"said": {"norm_input": "false"}},
        ),
        "LIF with a synapse": (
            seeded(two[0], lif(12, tau_syn=full(12, 10.0))),
            flat,
            {"said": {"tau_syn": "10"}},
        ),
        "IAF": (seeded(two[0], iaf(), two[1], iaf()), flat, {}),
        "IAF, reset to 0": (seeded(two[0], iaf(**reset)), flat, {"reset": Reset.ZERO}),
        "IAF, held above -1": (seeded(two[0], iaf(min_v_mem=-1.0), two[1], iaf(min_v_mem=-1.0)), flat, {}),
        "IAF, MultiSpike": (seeded(two[0], iaf(**many), two[1], iaf(**many)), flat, {}),
        "convolution": (
            seeded(image[0], iaf(), image[1], image[2], image[3], iaf()),
            (1, 8, 8),
            {},
        ),
        "convolution, MultiSpike": (
            seeded(image[0], iaf(**many), image[1], image[2], image[3], iaf(**many)),
            (1, 8, 8),
            {},
        ),
    }
    for name, (net, shape, known) in nets.items():

        def outputs(values: Any, net: Any = net) -> Any:
            found = []
            for sample in range(values.shape[1]):
                for module in net.modules():
                    if hasattr(module, "reset_states"):
                        module.reset_states()
                with torch.no_grad():
                    found.append(net(torch.from_numpy(values[:, sample])).numpy())
            return np.stack(found, axis=1)

        def graph(net: Any = net, shape: Any = shape) -> Any:
            made = sinabs.nir.to_nir(net, torch.zeros(1, *shape))
            made.infer_types()
            return made

        how = known.get("reset", Reset.SUBTRACT)
        yield Model("sinabs", name, shape, graph, outputs, 1.0, how, {"dt": 1e-3, **known})


def rockpool_models() -> Iterator[Model]:
    from rockpool.nn.combinators import Sequential as Chain
    from rockpool.nn.modules.torch import LIFNeuronTorch, LIFTorch, LinearTorch
    from rockpool.nn.modules.torch.nir import to_nir

    def lif(n: int, **options: Any) -> Any:
        values = {"tau_mem": 0.02, "tau_syn": 0.01, "dt": 1e-3, "max_spikes_per_dt": torch.tensor(1.0)}
        return LIFTorch(n, **{**values, **options})

    plain = {"dt": 1e-3, "max_spikes_per_dt": torch.tensor(1.0), "tau_mem": 0.02}
    nets: dict[str, tuple[Callable[[], list[Any]], dict[str, Any]]] = {
        "LIF": (lambda: [LinearTorch((10, 12)), lif(12), LinearTorch((12, 6)), lif(6)], {}),
        "LIF, other constants": (lambda: [LinearTorch((10, 12)), lif(12, tau_mem=0.05, tau_syn=0.002)], {}),
        "LIF, step of 5 ms": (lambda: [LinearTorch((10, 12)), lif(12, dt=5e-3)], {}),
        "LIFNeuron": (lambda: [LinearTorch((10, 12)), LIFNeuronTorch(12, **plain)], {}),
        "Linear with a bias": (lambda: [LinearTorch((10, 12), has_bias=True), lif(12)], {}),
        "LIF with a bias": (
            lambda: [LinearTorch((10, 12)), lif(12, bias=full(12, 0.05))],
            {"said": {"bias": "0.05"}},
        ),
        "several spikes a step": (
            lambda: [
                LinearTorch((10, 12)),
                lif(12, max_spikes_per_dt=torch.tensor(31.0), threshold=full(12, 0.2)),
            ],
            {},
        ),
        "recurrent": (lambda: [LinearTorch((10, 12)), lif(12, has_rec=True)], {}),
    }
    for name, (make, known) in nets.items():
        torch.manual_seed(3)
        net = Chain(*make())

        def outputs(values: Any, net: Any = net) -> Any:
            net.reset_state()
            with torch.no_grad():
                found, _, _ = net(torch.from_numpy(values).transpose(0, 1))
            return found.transpose(0, 1).numpy()

        graph = lambda net=net: to_nir(net)  # noqa: E731
        dt = 5e-3 if "5 ms" in name else 1e-3
        yield Model("Rockpool", name, (10,), graph, outputs, dt, Reset.SUBTRACT, known)


FRAMEWORKS: dict[str, tuple[str, Callable[[], Iterator[Model]]]] = {
    "snnTorch": ("snntorch", snntorch_models),
    "Norse": ("norse", norse_models),
    "SpikingJelly": ("spikingjelly", spikingjelly_models),
    "sinabs": ("sinabs", sinabs_models),
    "Rockpool": ("rockpool", rockpool_models),
}


def verdicts(framework: str) -> dict[str, str]:
    """By network of a framework, how it comes back."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {model.name: verdict(model, Path(folder)) for model in FRAMEWORKS[framework][1]()}


def main() -> None:
    print("| Framework | Networks | Exact as written | Exact after `mend` | Refused by name | Wrong |")
    print("|---|---|---|---|---|---|")
    for framework, (package, _) in FRAMEWORKS.items():
        if installed(package):
            found = verdicts(framework)
            counts = Counter(found.values())
            row = [counts[kind] for kind in (EXACT, MENDED, REFUSED, WRONG)]
            print(f"| {framework} | {len(found)} | " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
