"""Random graphs with every primitive on which float32 arithmetic is exact in any order of summation.

Weights lie on a grid and meet events (or values on a grid) alone; what rounds, such as decays, gains and
leaks, does so element by element and therefore alike in every backend.
"""

from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Reset, Signal

DT = 0.25
Chance = np.random.Generator


def grid(chance: Chance, *shape: int, reach: int = 24) -> NDArray[np.float32]:
    return (chance.integers(-reach, reach + 1, shape) / 16).astype(np.float32)


def neuron(chance: Chance, kind: str, shape: tuple[int, ...], reset: Reset) -> Any:
    """A neuron with a gain, a leak and a reset potential of its own for each element."""

    def near(low: float, high: float) -> NDArray[Any]:
        return chance.uniform(low, high, shape)

    plain = chance.random() < 0.3
    floor = np.zeros(shape) if plain or reset is Reset.SUBTRACT else near(-0.4, 0.3)
    limit = near(0.2, 1.2) if chance.random() < 0.7 else near(-0.4, 0.6)
    leak = {"r": near(0.5, 4.0), "v_leak": np.zeros(shape) if plain else near(-0.2, 0.4)}
    taus = {"tau_syn": near(0.3, 2.0), "tau_mem": near(0.3, 2.0), "w_in": near(0.5, 2.0)}
    return {
        "LIF": lambda: nir.LIF(tau=near(0.3, 2.0), v_threshold=limit, v_reset=floor, **leak),
        "IF": lambda: nir.IF(r=near(0.5, 4.0), v_threshold=limit, v_reset=floor),
        "CubaLIF": lambda: nir.CubaLIF(v_threshold=limit, v_reset=floor, **taus, **leak),
        "LI": lambda: nir.LI(tau=near(0.3, 2.0), **leak),
        "CubaLI": lambda: nir.CubaLI(**taus, **leak),
        "I": lambda: nir.I(r=near(0.5, 4.0)),
        "Threshold": lambda: nir.Threshold(near(-0.5, 0.5)),
    }[kind]()


SPIKING = ("LIF", "IF", "CubaLIF", "Threshold", "own")
INTEGRATORS = ("LI", "CubaLI", "I")


def random_graph(seed: int) -> nir.NIRGraph:
    """A chain with branches, joins, delays and feedback, perhaps behind convolutions and pools."""
    chance = np.random.default_rng(seed)
    reset = Reset(str(chance.choice([one.value for one in Reset])))
    build = GraphBuilder(DT, reset)
    last, size = _front(build, chance, reset)
    sizes = {last: size}
    for index in range(int(chance.integers(1, 5))):
        width = int(chance.integers(1, 5))
        wires = [
            _wire(build, chance, f"{index}_{branch}", sizes, width) for branch in range(chance.integers(1, 4))
        ]
        kind = str(chance.choice(SPIKING))
        if kind == "own":
            last = build.lif(f"n{index}", chance.random(width) * 0.95, 0.4, width, after=wires)
        else:
            last = build.add(f"n{index}", neuron(chance, kind, (width,), reset), after=wires)
        sizes[last] = width
        if chance.random() < 0.4:
            _feedback(build, chance, f"back{index}", last, width, memory=kind != "Threshold")
    if chance.random() < 0.3:
        build.linear("dead", grid(chance, 3, sizes[last]), after=last)
        build.threshold("dead_end", 0.5, 3)
    if chance.random() < 0.4:
        width = int(chance.integers(1, 4))
        build.affine("readout", grid(chance, width, sizes[last]), grid(chance, width), after=last)
        last = build.add("integrator", neuron(chance, str(chance.choice(INTEGRATORS)), (width,), reset))
        sizes[last] = width
    build.output(sizes[last], after=last)
    return build.build()


def _front(build: GraphBuilder, chance: Chance, reset: Reset) -> tuple[str, int]:
    """The input, and for images the layers that make a vector of it."""
    signal = Signal(str(chance.choice(["events", "real"])))
    if chance.random() < 0.5:
        size = int(chance.integers(1, 5))
        return build.input(size, signal), size
    if chance.random() < 0.4:
        return _sequence(build, chance, signal)
    return _image(build, chance, signal, reset)


def _sequence(build: GraphBuilder, chance: Chance, signal: Signal) -> tuple[str, int]:
    build.input((4, 7), signal)
    groups = int(chance.choice([1, 2]))
    padding = [0, 1, "same", "valid"][chance.integers(4)]
    stride = 1 if padding == "same" else int(chance.choice([1, 2]))
    weight, bias = grid(chance, 4, 4 // groups, int(chance.integers(1, 4))), grid(chance, 4)
    dilation = int(chance.choice([1, 2]))
    build.add("conv", nir.Conv1d(7, weight, stride, padding, dilation, groups, bias))
    length = _length(7, weight.shape[2], stride, padding, dilation)
    build.add("slices", nir.Affine(grid(chance, 4, 3, length), grid(chance, 4, 3)))
    build.threshold("front", 0.25, (4, 3))
    build.add("flat", nir.Flatten({"input": np.array([4, 3])}, 0, 1))
    return "flat", 12


def _length(size: int, width: int, stride: int, padding: Any, dilation: int) -> int:
    zeros = {"valid": 0, "same": dilation * (width - 1)}.get(padding, 2 * padding)
    return (size + zeros - dilation * (width - 1) - 1) // stride + 1


def _image(build: GraphBuilder, chance: Chance, signal: Signal, reset: Reset) -> tuple[str, int]:
    build.input((2, 6, 6), signal)
    padding = [(1, 0), "same", "valid"][chance.integers(3)]
    stride = (1, 1) if padding == "same" else (1, 2)
    weight = grid(chance, 4, 2, 2, 3)
    build.add("conv", nir.Conv2d((6, 6), weight, stride, padding, 1, 1, grid(chance, 4)))
    height, width = (
        _length(6, size, step, padding if isinstance(padding, str) else padding[axis], 1)
        for axis, (size, step) in enumerate(zip((2, 3), stride, strict=True))
    )
    build.add("spikes", neuron(chance, "LIF", (4, height, width), reset))
    pool = [nir.SumPool2d, nir.AvgPool2d][chance.integers(2)]
    build.add("pool", pool(np.array([2, 2]), np.array([2, 1]), np.array([1, 0])))
    shape = (4, (height + 2 - 2) // 2 + 1, width - 1)
    build.add("flat", nir.Flatten({"input": np.array(shape)}, 0, -1))
    return "flat", int(np.prod(shape))


def _wire(build: GraphBuilder, chance: Chance, name: str, sizes: dict[str, int], width: int) -> str:
    """A delayed, scaled and weighted copy of one of the layers so far."""
    source = str(chance.choice(list(sizes)))
    size = sizes[source]
    if chance.random() < 0.4:
        source = build.delay(f"d{name}", chance.integers(0, 4, size), size, after=source)
    if chance.random() < 0.3:
        scale = chance.integers(-2, 3, size).astype(np.float32)
        source = build.add(f"s{name}", nir.Scale(scale), after=source)
    if chance.random() < 0.5:
        return build.affine(f"a{name}", grid(chance, width, size), grid(chance, width), after=source)
    return build.linear(f"w{name}", grid(chance, width, size), after=source)


def _feedback(
    build: GraphBuilder, chance: Chance, name: str, layer: str, width: int, *, memory: bool
) -> None:
    """From a layer back onto itself, one step late or by a Delay of its own."""
    back = build.linear(name, grid(chance, width, width, reach=8), after=layer)
    if not memory or chance.random() < 0.5:
        back = build.delay(f"{name}_delay", chance.integers(1, 4, width), width, after=back)
    build.connect(back, layer)
