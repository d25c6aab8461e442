"""Placement on cores that each hold one layer: a kernel, the neurons behind it, a pooling of their spikes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2, prod

from nsc_deploy.exporters.chips.chip import Chip, CoreSize, LayerCores
from nsc_deploy.exporters.chips.layer_rules import layer_breaches
from nsc_deploy.exporters.chips.layers import Layer, layers_of
from nsc_deploy.exporters.chips.placement import Breach, Core, Layout, Placement, Usage
from nsc_deploy.exporters.chips.timing import Timing
from nsc_deploy.exporters.chips.wiring import Wiring
from nsc_deploy.graphs.network import Network


@dataclass(frozen=True)
class Need:
    """Entries a layer needs in the memories of a core."""

    kernel: int
    neurons: int
    biases: int

    def fits(self, core: CoreSize) -> bool:
        """Whether a core has them."""
        return self.kernel <= core.kernel and self.neurons <= core.neurons and self.biases <= core.biases


def need_of(layer: Layer) -> Need:
    """Entries by the chip's address scheme: sizes are rounded up to powers of two.

    kernel: inputs * 2^(ceil log2(height * width) + ceil log2(outputs)) of the kernel;
    neurons: outputs * 2^(ceil log2 height + ceil log2 width) of the feature map
    (sinabs, DynapcnnLayer.memory_summary).
    """
    kernel = layer.channels * 2 ** (_log(prod(layer.kernel)) + _log(layer.outputs))
    neurons = layer.outputs * 2 ** sum(_log(size) for size in layer.feature_map)
    return Need(kernel, neurons, layer.outputs if layer.biased else 0)


def _log(size: int) -> int:
    return ceil(log2(size))


def fit_layer_cores(
    network: Network, wiring: Wiring, timing: Timing, chip: Chip, layout: LayerCores
) -> Layout:
    """Give every layer a core that is large enough, as many as possible at once.

    Args:
        network: the graph.
        wiring: the same as populations.
        timing: of the graph.
        chip: the chip.
        layout: its cores.
    """
    layers = layers_of(network, wiring)
    needs = {layer.name: need_of(layer) for layer in layers}
    home = assign(needs, layout.cores.each)
    breaches = (*layer_breaches(wiring, layers, layout), *_homeless(layers, needs, home, layout.cores.each))
    cores = tuple(sorted(_cores(wiring, needs, home, layout.cores.each), key=lambda core: core.index))
    used = len(cores)
    pools = (
        Usage("cores", used, len(layout.cores.each)),
        Usage(
            "kernel entries",
            sum(one.kernel for one in needs.values()),
            sum(one.kernel for one in layout.cores.each),
        ),
        Usage(
            "neuron entries",
            sum(one.neurons for one in needs.values()),
            sum(one.neurons for one in layout.cores.each),
        ),
        Usage("neurons", wiring.neurons, None),
        Usage("synapses", wiring.synapses, None),
    )
    return Layout(Placement(chip.name, cores, (), dict(timing.latency)), pools, breaches)


def assign(needs: Mapping[str, Need], cores: Sequence[CoreSize]) -> dict[str, int]:
    """A core for as many layers as possible, each large enough (augmenting paths, in the order given)."""
    owner: dict[int, str] = {}

    def place(name: str, tried: set[int]) -> bool:
        for index, core in enumerate(cores):
            if index in tried or not needs[name].fits(core):
                continue
            tried.add(index)
            if index not in owner or place(owner[index], tried):
                owner[index] = name
                return True
        return False

    for name in needs:
        place(name, set())
    return {name: index for index, name in owner.items()}


def _cores(
    wiring: Wiring, needs: Mapping[str, Need], home: Mapping[str, int], cores: Sequence[CoreSize]
) -> Iterator[Core]:
    """The cores in use; a layer without one gets a number past the last, and the largest core's sizes."""
    largest = max(cores, key=lambda core: (core.kernel, core.neurons))
    spare = len(cores)
    for one in wiring.populations:
        if one.name not in needs:
            continue
        index = home.get(one.name, spare)
        spare += one.name not in home
        size = cores[index] if index < len(cores) else largest
        need = needs[one.name]
        pools = (
            Usage("kernel entries", need.kernel, size.kernel),
            Usage("neuron entries", need.neurons, size.neurons),
            Usage("biases", need.biases, size.biases),
        )
        yield Core(index, (one.share(0, one.size),), pools)


def _homeless(
    layers: Sequence[Layer], needs: Mapping[str, Need], home: Mapping[str, int], cores: Sequence[CoreSize]
) -> Iterator[Breach]:
    if len(layers) > len(cores):
        over = len(layers) - len(cores)
        yield Breach(
            "cores of the chip",
            "chip",
            f"{len(layers)} layers; the chip has {len(cores)} cores, one for each",
            f"Leave out {over} layer{'' if over == 1 else 's'}.",
            len(layers),
            len(cores),
        )
        return
    for layer in layers:
        if layer.name not in home:
            yield _too_large(layer, needs, len(home), cores)


def _too_large(layer: Layer, needs: Mapping[str, Need], placed: int, cores: Sequence[CoreSize]) -> Breach:
    need = needs[layer.name]
    best = max(cores, key=lambda core: core.kernel if need.kernel > core.neurons else core.neurons)
    fits = _most_outputs(layer, needs, placed, cores)
    other = "stride or pool more before it"
    remedy = (
        f"Make its {layer.outputs:,} output channels {fits:,}, or {other}."
        if fits
        else f"Make the layers before it smaller: {other}."
    )
    kernel_is_worse = need.kernel / best.kernel >= need.neurons / best.neurons
    return Breach(
        "memory of a core",
        f"node '{layer.name}'",
        f"needs {need.kernel:,} kernel and {need.neurons:,} neuron entries; no core that is left has both",
        remedy,
        need.kernel if kernel_is_worse else need.neurons,
        best.kernel if kernel_is_worse else best.neurons,
    )


def _most_outputs(layer: Layer, needs: Mapping[str, Need], placed: int, cores: Sequence[CoreSize]) -> int:
    """The most output channels with which the layer finds a core beside all that have one; 0 if none."""

    def fits(outputs: int) -> bool:
        changed = {**needs, layer.name: need_of(replace(layer, outputs=outputs))}
        found = assign(changed, cores)
        return layer.name in found and len(found) > placed

    low, high = 0, layer.outputs
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
