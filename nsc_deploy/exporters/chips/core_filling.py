"""One core of many while it is being filled: what a further share of neurons would cost, and whether it fits.

The synapses of one line onto the neurons of one core form a list. Where the format of lists is published,
a list takes the cheaper of two forms: dense, a weight for each neuron of the population's share, or sparse,
a weight and an index of the neuron for each synapse; blocks of either are padded to whole words. Else only
the bits of the weights are counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.chips.chip import Chip, ListFormat, ManyCores
from nsc_deploy.exporters.chips.connectivity import Integers
from nsc_deploy.exporters.chips.convolution_pattern import ConvolutionPattern
from nsc_deploy.exporters.chips.placement import Share, Usage
from nsc_deploy.exporters.chips.wiring import Population, Projection


@dataclass(frozen=True)
class Setting:
    """What every core has in common.

    Attributes:
        layout: the published limits.
        weight_bits: of a weight in the graph's weights, its sign included.
        state_bits: of one state variable.
    """

    layout: ManyCores
    weight_bits: int
    state_bits: int

    @classmethod
    def of(cls, chip: Chip, layout: ManyCores, weight_bits: int) -> "Setting":
        """From a chip."""
        return cls(layout, weight_bits, chip.neurons.state_bits.value or 0)


@dataclass(frozen=True)
class Cost:
    """What a share needs beside its neurons.

    Attributes:
        lines: for each source, which of its lines have synapses onto the share.
        bits: of memory.
        synapses: number of synapses.
    """

    lines: dict[str, NDArray[np.bool_]]
    bits: int
    synapses: int


@dataclass
class Filling:
    """A core and what is in it so far."""

    setting: Setting
    shares: list[Share] = field(default_factory=list)
    lines: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    bits: int = 0
    synapses: int = 0

    @property
    def neurons(self) -> int:
        """Neurons in the core."""
        return sum(share.size for share in self.shares)

    @property
    def axons_in(self) -> int:
        """Lines with synapses in the core."""
        return sum(int(lines.sum()) for lines in self.lines.values())

    def room(self) -> int:
        """Neurons that can still come."""
        return (self.setting.layout.neurons_per_core.value or 2**31) - self.neurons

    def takes(self, share: Share, cost: Cost) -> bool:
        """Whether a share would fit."""
        layout = self.setting.layout
        return (
            share.size <= self.room()
            and _within(self._axons_with(cost), layout.axons_in.value)
            and _within(ceil((self.bits + cost.bits) / 8), layout.memory.capacity.value)
        )

    def add(self, share: Share, cost: Cost) -> None:
        """Take a share."""
        self.shares.append(share)
        self.bits += cost.bits
        self.synapses += cost.synapses
        for source, lines in cost.lines.items():
            self.lines[source] = self.lines[source] | lines if source in self.lines else lines

    def _axons_with(self, cost: Cost) -> int:
        new = sum(
            int((lines & ~self.lines[source]).sum()) if source in self.lines else int(lines.sum())
            for source, lines in cost.lines.items()
        )
        return self.axons_in + new

    def pools(self, axons_out: int) -> tuple[Usage, ...]:
        """What the core uses of what it has."""
        layout = self.setting.layout
        memory = layout.memory
        bound = memory.lists is None
        return (
            Usage(
                "neurons", self.neurons, layout.neurons_per_core.value, lower=layout.neurons_per_core.lower
            ),
            Usage("axons in", self.axons_in, layout.axons_in.value, lower=layout.axons_in.lower),
            Usage("axons out", axons_out, layout.axons_out.value, lower=layout.axons_out.lower),
            Usage("memory", ceil(self.bits / 8), memory.capacity.value, "B", bound, memory.capacity.lower),
            Usage("synapses", self.synapses, None),
        )


def cost_of(
    population: Population, into: Sequence[tuple[Projection, int]], share: Share, setting: Setting
) -> Cost:
    """What a share of a population costs, wherever it goes.

    Args:
        population: whose neurons they are.
        into: its projections, each with the longest delay of its synapses.
        share: the neurons.
        setting: of the cores.
    """
    lines: dict[str, NDArray[np.bool_]] = {}
    bits = synapses = 0
    for one, delay in into:
        lists = one.pattern.lists(share.neurons)
        met = lists > 0
        lines[one.source] = lines[one.source] | met if one.source in lines else met
        synapses += int(lists.sum())
        bits += _synapse_bits(one, lists, share, delay, setting)
    if setting.layout.memory.holds_states:
        bits += share.size * population.states * setting.state_bits
    return Cost(lines, bits, synapses)


def _synapse_bits(one: Projection, lists: Integers, share: Share, delay: int, setting: Setting) -> int:
    layout = setting.layout
    if layout.memory.lists is not None:
        return list_bits(
            lists, share.size, delay, setting.weight_bits, _index_bits(layout), layout.memory.lists
        )
    shared = layout.shared_convolutions.value and isinstance(one.pattern, ConvolutionPattern)
    weights = one.pattern.stored(share.neurons) if shared else int(lists.sum())
    return weights * setting.weight_bits


def list_bits(
    lists: Integers, neurons: int, delay: int, weight_bits: int, index_bits: int, form: ListFormat
) -> int:
    """Memory of the lists of one projection in one core.

    Args:
        lists: [lines], synapses of each line.
        neurons: in the share; a dense list has a weight for each.
        delay: the longest delay of the synapses, which all of them have room for.
        weight_bits: of a weight.
        index_bits: of the number of a neuron in its core.
        form: how lists are kept.
    """
    width = next((one for one in sorted(form.weight_widths) if one >= weight_bits), weight_bits)
    each = width + delay.bit_length()
    used = lists[lists > 0]
    dense = _blocks(np.full(len(used), neurons), each, form)
    sparse = _blocks(used, each + index_bits, form)
    return int(np.minimum(dense, sparse).sum())


def _blocks(synapses: NDArray[np.integer], bits: int, form: ListFormat) -> Integers:
    """Bits of lists with so many synapses each."""
    full, rest = np.divmod(synapses, form.block)
    whole = _padded(form.block * bits + form.header_bits, form.word_bits)
    last = np.where(rest > 0, -(-(rest * bits + form.header_bits) // form.word_bits) * form.word_bits, 0)
    return np.asarray(full * whole + last, dtype=np.int64)


def _padded(bits: int, word: int) -> int:
    return -(-bits // word) * word


def _index_bits(layout: ManyCores) -> int:
    return max(1, (layout.neurons_per_core.value or 1) - 1).bit_length()


def _within(used: int, limit: int | None) -> bool:
    return limit is None or used <= limit
