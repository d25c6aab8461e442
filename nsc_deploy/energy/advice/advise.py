"""Where energy can be saved: each change is made, run on the recordings and priced; nothing is guessed.

The NIR parts of a system, ready to be changed and measured again.

What could not be tried on a system to save energy, and why.

Advice on where energy can be saved, as data: each change with what was measured before and after it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.advice.prune import (
    Activity,
    Mask,
    observe,
    removable,
    silent_alone,
    unmet,
    with_weights,
    without_neurons,
    without_weights,
)
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.operations import PartCount, Store
from nsc_deploy.energy.output.notebook import Tabular
from nsc_deploy.energy.pricing.accountings import ACCOUNTINGS
from nsc_deploy.energy.pricing.price import access_price, price_layer
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.sources import CountedSystem, Options, Source, Work, count_source
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.readout import decide
from nsc_deploy.io.records import Record

Progress = Callable[[str], None]
_MICROJOULE = 1e-6
_BITS = (8, 4)
_SHARES = (0.75, 0.5)


@dataclass(frozen=True)
class Bench:
    """A NIR part with all that is needed to change it and measure again.

    Attributes:
        outputs_decide: whether its outputs are what the system decides by.
    """

    work: Work
    part: PartCount
    network: Network
    recording: Recording
    activity: Activity
    outputs_decide: bool


class Change(StrEnum):
    """What is changed.

    - `PRUNE`: neurons that never fire, or whose spikes meet no synapse, are taken out.
    - `DROP`: weights that no event ever meets are set to zero.
    - `ALL_EXACT`: all changes of a part that leave its outputs as they are, at once.
    - `STEPS`: the recordings end earlier.
    - `BITS`: the weights of a layer are rounded to fewer bits.
    - `RATE`: another run, trained with a loss on the rate of spikes.
    """

    PRUNE = "prune"
    DROP = "drop"
    ALL_EXACT = "all exact changes"
    STEPS = "fewer steps"
    BITS = "fewer bits"
    RATE = "lower rate"


class Advice(Record):
    """One change and what it does to the whole system, measured on the recordings.

    Accuracies are None where they cannot be measured on recordings: without labels and a readout.
    """

    change: Change
    part: str | None = Field(description="None: the whole system")
    layer: str | None = Field(description="None: several layers")
    words: str = Field(description="what is changed")
    same_outputs: bool = Field(description="whether every output value of the part stays as it was")
    before_uj: float = Field(description="of the whole system, mean of a sample")
    after_uj: float
    saved: float = Field(description="share of the energy of the whole system; negative where it rises")
    accuracy_before: float | None
    accuracy_after: float | None


ADVICE_SCHEMA_VERSION = 1


class AdviceReport(Record, Tabular):
    """All changes that were tried, the one that saves most first; a table in a notebook."""

    schema_version: int = ADVICE_SCHEMA_VERSION
    system: str
    profile: str
    column: str
    samples: int
    energy_uj: float = Field(description="of the whole system, mean of a sample")
    accuracy: float | None = Field(description="of the last part on these samples, where it has labels")
    advice: tuple[Advice, ...]
    left_out: tuple[str, ...] = Field(description="what could not be tried, and why")
    warnings: tuple[Diagnostic, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A row a change."""
        return [one.model_dump(mode="json") for one in self.advice]


class Advisor:
    """Tries changes on one system.

    Args:
        source: a run or a graph file.
        profile: the prices.
        options: how to count.
        column: accounting of the energy: paper, compute or memory.
        progress: told what is being tried.

    Raises:
        UserError: as for counting; or the profile lacks a price that the column needs.
    """

    def __init__(
        self,
        source: Source,
        profile: Profile,
        options: Options,
        *,
        column: str = "memory",
        progress: Progress = lambda line: None,
    ) -> None:
        self._profile = profile
        self._options = options
        self._progress = progress
        self._accounting = next(one for one in ACCOUNTINGS if one.name == column)
        progress(f"counting {source.label}")
        self._counted = count_source(source, options)
        self._spiking = self._counted.count.spiking
        self._readout = readout_of(self._counted, options)
        self._before = sum(self._energy(part) for part in self._counted.count.parts)
        self._benches = benches(self._counted, options)
        self._accuracy = next(
            (self._decided(one, one.activity.outputs) for one in self._benches if one.outputs_decide), None
        )

    def report(self, rival: CountedSystem | None = None) -> AdviceReport:
        """Try everything.

        Args:
            rival: another run of the same system, trained for a lower rate of spikes.
        """
        found: list[Advice] = []
        for bench in self._benches:
            found += self._exact(bench)
            found += self._bits(bench) if bench.outputs_decide else []
        found += self._steps()
        found += [] if rival is None else [self._rate(rival)]
        return AdviceReport(
            system=self._counted.label,
            profile=self._profile.name,
            column=self._accounting.name,
            samples=self._counted.count.samples,
            energy_uj=self._before,
            accuracy=self._accuracy,
            advice=tuple(sorted(found, key=lambda one: (one.after_uj, one.words))),
            left_out=left_out(self._counted, self._benches, self._profile, with_rival=rival is not None),
        )

    def write_pruned(self, path: Path, part: str | None = None) -> str:
        """Write a part with all changes that leave its outputs as they are.

        Args:
            path: of the NIR file.
            part: its name; by default the last NIR part.

        Returns:
            The name of the part.

        Raises:
            ConfigError: there is no such NIR part, or nothing can be taken out of it.
        """
        named = [one for one in self._benches if part in {None, one.part.name}]
        if not named:
            known = ", ".join(one.part.name for one in self._benches) or "none"
            raise ConfigError(f"names {part}, which is no NIR part (there are: {known})", where="--part")
        bench = named[-1]
        pruned = self._pruned(bench)
        if pruned is None:
            raise ConfigError(
                f"nothing can be taken out of {bench.part.name} with its outputs as they are", where=path
            )
        write_network(path, pruned)
        return bench.part.name

    def _energy(self, part: PartCount, weight_bits: Mapping[str, int] | None = None) -> float:
        """Microjoules of a part, mean of a sample; weights of some layers at fewer bits."""
        total = 0.0
        for layer in part.layers:
            priced = price_layer(layer, self._profile, self._accounting, spiking=self._spiking)
            if priced.unpriced:
                raise ConfigError(
                    f"has no price for {', '.join(priced.unpriced)} of {part.name}/{layer.name}, so nothing "
                    "can be compared",
                    where=f"profile {self._profile.name}",
                    hint="Choose another profile or column.",
                )
            total += float(priced.total.mean())
            bits = (weight_bits or {}).get(layer.name)
            if bits is not None and Store.WEIGHTS in priced.kinds:
                price = access_price(self._profile, layer.footprint.weights, bits)
                narrow = 0.0 if price is None else price.picojoules * float(layer.traffic.weight_reads.mean())
                total += narrow - float(priced.kinds[Store.WEIGHTS].mean())
        return total * _MICROJOULE

    def _recount(self, bench: Bench, network: Network, recording: Recording | None = None) -> PartCount:
        taken = bench.recording if recording is None else recording
        return count_network(network, taken, name=bench.part.name, batch=self._options.batch)

    def _decided(self, bench: Bench, outputs: NDArray[Any]) -> float | None:
        labels = bench.recording.labels
        if self._readout is None or labels is None or not bench.outputs_decide:
            return None
        return float((decide(outputs, *self._readout) == labels).mean())

    def _advice(
        self,
        change: Change,
        bench: Bench | None,
        layer: str | None,
        words: str,
        after: float,
        *,
        same: bool,
        accuracy: float | None,
    ) -> Advice:
        return Advice(
            change=change,
            part=None if bench is None else bench.part.name,
            layer=layer,
            words=words,
            same_outputs=same,
            before_uj=self._before,
            after_uj=after,
            saved=(self._before - after) / self._before if self._before else 0.0,
            accuracy_before=self._accuracy,
            accuracy_after=accuracy,
        )

    def _tried(
        self, bench: Bench, network: Network, bits: Mapping[str, int] | None = None
    ) -> tuple[float, bool, float | None]:
        """Energy of the whole system, whether the outputs stay, and accuracy, with one part changed."""
        outputs = observe(network, bench.recording).outputs
        after = self._before - self._energy(bench.part) + self._energy(self._recount(bench, network), bits)
        same = np.array_equal(outputs, bench.activity.outputs)
        # The same outputs give the same decisions, of whatever comes behind them too.
        accuracy = self._accuracy if same else self._decided(bench, outputs)
        return after, same, accuracy

    def _exact(self, bench: Bench) -> Iterator[Advice]:
        neurons, weights = removals(bench.network, bench.activity)
        for name, mask in neurons.items():
            shape = bench.network.node(name).output_shape
            of = _units(mask, shape, "neurons", "channels")
            words = f"take out {of} that never fire or are never read"
            yield self._one(Change.PRUNE, bench, name, words, without_neurons(bench.network, {name: mask}))
        for name, mask in weights.items():
            of = _units(mask, bench.network.node(name).input_shape, "inputs", "input channels")
            words = f"drop the weights of {of} that never carry an event"
            yield self._one(Change.DROP, bench, name, words, without_weights(bench.network, {name: mask}))
        pruned = self._pruned(bench)
        if pruned is not None and len(neurons) + len(weights) > 1:
            yield self._one(Change.ALL_EXACT, bench, None, "all of the part's prune and drop at once", pruned)

    def _pruned(self, bench: Bench) -> Network | None:
        """The part with everything taken out that its outputs do not need; None where that is nothing."""
        neurons, weights = removals(bench.network, bench.activity)
        if not neurons and not weights:
            return None
        pruned = without_neurons(without_weights(bench.network, weights), neurons)
        same = np.array_equal(observe(pruned, bench.recording).outputs, bench.activity.outputs)
        return pruned if same else None

    def _one(self, change: Change, bench: Bench, layer: str | None, words: str, network: Network) -> Advice:
        self._progress(f"{bench.part.name}: {change} {layer or ''}")
        after, same, accuracy = self._tried(bench, network)
        return self._advice(change, bench, layer, words, after, same=same, accuracy=accuracy)

    def _bits(self, bench: Bench) -> Iterator[Advice]:
        width = self._profile.operand_bits
        if width is None or not self._profile.memories:
            return
        for node in bench.network.nodes:
            if not node.synaptic:
                continue
            for bits in (bits for bits in _BITS if bits < width):
                self._progress(f"{bench.part.name}: {bits} bits for {node.name}")
                network = with_weights(bench.network, node.name, rounded(node.parameters.weight, bits))
                after, same, accuracy = self._tried(bench, network, {node.name: bits})
                words = f"weights of {bits} bits instead of {width}, read from a memory of that width"
                yield self._advice(Change.BITS, bench, node.name, words, after, same=same, accuracy=accuracy)

    def _steps(self) -> Iterator[Advice]:
        """Shorter recordings for all parts; only where each of them takes its steps one after the other."""
        if len(self._benches) < len(self._counted.work) or not self._benches[-1].outputs_decide:
            return
        last, steps = self._benches[-1], self._benches[-1].part.steps
        for kept in dict.fromkeys(max(1, round(steps * share)) for share in _SHARES):
            if kept == steps:
                continue
            self._progress(f"{kept} steps")
            after = sum(
                self._energy(
                    self._recount(
                        one, one.network, replace(one.recording, values=one.recording.values[:kept])
                    )
                )
                for one in self._benches
            )
            accuracy = self._decided(last, last.activity.outputs[:kept])
            words = f"decide after {kept} of {steps} steps"
            yield self._advice(Change.STEPS, None, None, words, after, same=False, accuracy=accuracy)

    def _rate(self, rival: CountedSystem) -> Advice:
        after = sum(self._energy(part) for part in rival.count.parts)
        spikes = [
            sum(float(part.per_sample.spikes.mean()) for part in one.count.parts)
            for one in (self._counted, rival)
        ]
        words = f"the run {rival.path}: {spikes[1]:,.0f} spikes a sample instead of {spikes[0]:,.0f}"
        accuracy = None if rival.deployment is None else rival.deployment.test_accuracy
        return self._advice(Change.RATE, None, None, words, after, same=False, accuracy=accuracy)


def _units(mask: Mask, shape: Sequence[int], one_by_one: str, in_channels: str) -> str:
    """How many neurons or channels of how many."""
    return f"{int(mask.sum())} of {mask.size} {one_by_one if len(shape) == 1 else in_channels}"


def benches(counted: CountedSystem, options: Options) -> list[Bench]:
    """Read and run every NIR part of a system; the outputs of its last part decide, if labels are known."""
    readout = readout_of(counted, options)
    return [
        _bench(work, part, options, last=readout is not None and work is counted.work[-1])
        for work, part in zip(counted.work, counted.count.parts, strict=True)
        if work.graph.suffix == ".nir"
    ]


def _bench(work: Work, part: PartCount, options: Options, *, last: bool) -> Bench:
    recording = read_recording(work.recording)
    if options.samples is not None:
        recording = recording.first(options.samples)
    network = read_network(
        work.graph, dt=options.dt or recording.dt, reset=options.reset, signal=recording.signal
    )
    decides = last and recording.labels is not None
    return Bench(work, part, network, recording, observe(network, recording), decides)


def rounded(weight: NDArray[np.generic], bits: int) -> NDArray[np.float32]:
    """Weights on the 2^bits - 1 levels that lie evenly around 0, up to the largest of the layer."""
    values = np.asarray(weight, dtype=np.float64)
    step = float(np.abs(values).max(initial=0.0)) / (2 ** (bits - 1) - 1)
    return values.astype(np.float32) if step == 0 else (np.rint(values / step) * step).astype(np.float32)


def removals(network: Network, activity: Activity) -> tuple[dict[str, Mask], dict[str, Mask]]:
    """By layer: neurons that can be taken out, and inputs whose weights no event meets."""
    neurons = {node.name: removable(network, activity, node) for node in network.nodes}
    weights = {node.name: unmet(network, activity, node) for node in network.nodes}
    return _present(neurons), _present(weights)


def _present(masks: Mapping[str, Mask | None]) -> dict[str, Mask]:
    return {name: mask for name, mask in masks.items() if mask is not None}


def readout_of(counted: CountedSystem, options: Options) -> tuple[int, int] | None:
    """Classes and group, from the deployment of a run or the Output node of a graph."""
    if counted.deployment is not None:
        return counted.deployment.readout.classes, counted.deployment.readout.group
    work: Sequence[Work] = counted.work
    if work[-1].graph.suffix != ".nir":
        return None
    network = read_network(work[-1].graph, dt=counted.count.parts[-1].dt, reset=options.reset)
    metadata = network.output_node.parameters.metadata
    if "classes" not in metadata or "group" not in metadata:
        return None
    return int(metadata["classes"]), int(metadata["group"])


def left_out(
    counted: CountedSystem, benches: Sequence[Bench], profile: Profile, *, with_rival: bool
) -> tuple[str, ...]:
    """A line for each.

    Args:
        counted: the system.
        benches: its NIR parts.
        profile: the prices.
        with_rival: whether a run with a lower rate was given.
    """
    return (
        *_parts(counted),
        *_bits_and_steps(counted, benches, profile),
        *_single_neurons(benches),
        *(() if with_rival else (_RATE,)),
    )


_RATE = "lower rate: give a second run, trained with a loss on the rate of spikes (--rate-run)"


def _parts(counted: CountedSystem) -> Iterator[str]:
    for work, part in zip(counted.work, counted.count.parts, strict=True):
        if work.graph.suffix != ".nir":
            yield f"{part.name}: an ONNX graph is not changed"


def _bits_and_steps(counted: CountedSystem, benches: Sequence[Bench], profile: Profile) -> Iterator[str]:
    if not any(one.outputs_decide for one in benches):
        yield "fewer steps and bits: no NIR part with labels and a readout is the last, so no accuracy"
        return
    if len(benches) < len(counted.work):
        yield "fewer steps: an ONNX part may look ahead, so a shorter recording is another input"
    if len(benches) > 1:
        yield "fewer bits before the last part: what they change there has to cross the channel anew"
    if profile.operand_bits is None or not profile.memories:
        yield f"fewer bits: {profile.name} prices no memory by width"


def _single_neurons(benches: Sequence[Bench]) -> Iterator[str]:
    for bench in benches:
        for node in bench.network.nodes:
            alone = silent_alone(bench.activity, node)
            if alone:
                where = f"{bench.part.name}/{node.name}"
                yield (
                    f"prune: {alone:,} neurons of {where} never fire while others of their channel do; a "
                    "kernel computes whole channels"
                )
