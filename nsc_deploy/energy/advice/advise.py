"""Where energy can be saved: each change is made, run on the recordings and priced; nothing is guessed."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from nsc_deploy.deployment import graph_files
from nsc_deploy.energy.advice.parts import ObservedPart, nir_parts, removals, without_unused
from nsc_deploy.energy.advice.prune import (
    Mask,
    observe,
    rounded,
    silent_alone,
    with_weights,
    without_neurons,
    without_weights,
)
from nsc_deploy.energy.advice.records import Advice, AdviceReport, Change, Objective
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.operations import LayerCount, PartCount, Store
from nsc_deploy.energy.pricing.price import ACCOUNTINGS, MICROJOULE, PriceBook, access_price, price_layer
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.budget import Budget, CheckResult
from nsc_deploy.energy.report.quantity import Quantity
from nsc_deploy.energy.systems import CountedSystem, Options
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.outputs import FileKind, require_output
from nsc_deploy.io.text import counted, percent

Progress = Callable[[str], None]
_COLUMNS = ("paper", "compute", "memory")
_BITS = (8, 4)
_SHARES = (0.75, 0.5)
_OBJECTIVES: dict[str, Objective] = {
    Quantity.SYNOPS_PER_INFERENCE: Objective.SYNOPS,
    Quantity.SYNOPS_PER_STEP: Objective.SYNOPS,
    Quantity.SYNOPS_PER_SECOND: Objective.SYNOPS,
    Quantity.ENERGY: Objective.ENERGY,
    Quantity.MEMORY: Objective.MEMORY,
}
_NO_RIVAL = "lower rate: give a second run, trained with a loss on the rate of spikes (--rate-run)"


@dataclass(frozen=True)
class _Totals:
    """What parts take together: means of a sample, and the bytes they keep (None: of unknown width)."""

    energy_uj: float
    synops: float
    memory_bytes: int | None

    def __add__(self, other: "_Totals") -> "_Totals":
        known = (self.memory_bytes, other.memory_bytes)
        return _Totals(
            self.energy_uj + other.energy_uj,
            self.synops + other.synops,
            None if None in known else sum(one for one in known if one is not None),
        )

    def of(self, objective: Objective) -> float | None:
        """What is to become less."""
        return {
            Objective.ENERGY: self.energy_uj,
            Objective.SYNOPS: self.synops,
            Objective.MEMORY: self.memory_bytes,
        }[objective]


class Advisor:
    """Tries changes on one system.

    Args:
        system: counted.
        prices: of its operations.
        options: how it was counted.
        column: accounting of the energy: paper, compute or memory.
        by: what the changes are ranked by.
        why: where a budget decides that, its words.
        of: the parts whose savings rank them; empty for all.
        progress: called with a line on what is being tried.

    Raises:
        UserError: as for counting; or the profile lacks a price that the column needs, or the width of a
            value where memory is to become less.
    """

    def __init__(
        self,
        system: CountedSystem,
        prices: PriceBook,
        options: Options,
        *,
        column: str = "memory",
        by: Objective = Objective.ENERGY,
        why: str = "",
        of: Sequence[str] = (),
        progress: Progress = lambda line: None,
    ) -> None:
        self._system = system
        self._prices, self._profile = prices, prices.profile
        self._by, self._why = by, why
        names = [part.name for part in system.parts]
        self._of = () if set(names) <= set(of) else tuple(of)
        self._options = options
        self._progress = progress
        self._accounting = next(one for one in ACCOUNTINGS if one.name == column)
        self._each = {part.name: self._totals(part) for part in system.parts}
        self._before = _added(self._each.values())
        if self._ranked(self._each) is None:
            raise ConfigError(
                "does not say how wide a value is, so bytes cannot be saved",
                where=f"profile {self._profile.name}",
                hint="Choose a profile that has operand_bits, or rank by energy or synops.",
            )
        self._parts = nir_parts(system, options)
        self._accuracy = next((one.accuracy for one in self._parts if one.readout is not None), None)

    def report(self, rival: CountedSystem | None = None) -> AdviceReport:
        """Try everything.

        Args:
            rival: another run of the same system, trained for a lower rate of spikes.
        """
        advice = [one for part in self._parts for one in (*self._exact(part), *self._bits(part))]
        advice += self._steps()
        advice += [] if rival is None else [self._rate(rival)]
        together = self._together()
        return AdviceReport(
            system=self._system.label,
            profile=self._profile.name,
            column=self._accounting.name,
            samples=self._system.samples,
            by=self._by,
            why=self._why,
            of_parts=self._of,
            energy_uj=self._before.energy_uj,
            synops=self._before.synops,
            memory_bytes=self._before.memory_bytes,
            accuracy=self._accuracy,
            advice=tuple(sorted(advice, key=lambda one: (-one.saved, one.after_uj, one.words))),
            together=together,
            left_out=(
                *_unchanged_parts(self._system),
                *_unchanged_bits_and_steps(self._system, self._parts, self._profile),
                *_unchanged_neurons(self._parts),
                *((_NO_RIVAL,) if rival is None else ()),
            ),
        )

    def write_pruned(self, path: Path, part: str | None = None) -> str:
        """Write a part with all changes that leave its outputs as they are.

        Args:
            path: of the NIR file.
            part: its name; by default the last NIR part.

        Returns:
            The name of the part.

        Raises:
            ConfigError: there is no such NIR part, or nothing can be taken out of it; `path` is a graph of
                the system, or has the name or the content of something else.
        """
        require_output(path, FileKind.GRAPH, graph_files(self._system.path))
        named = [one for one in self._parts if part in {None, one.name}]
        if not named:
            known = ", ".join(one.name for one in self._parts) or "none"
            raise ConfigError(f"names {part}, which is no NIR part (there are: {known})", where="--part")
        pruned = without_unused(named[-1])
        if pruned is None:
            raise ConfigError(
                f"nothing can be taken out of {named[-1].name} with its outputs as they are", where=path
            )
        write_network(path, pruned)
        return named[-1].name

    def _totals(self, part: PartCount, weight_bits: Mapping[str, int] | None = None) -> _Totals:
        """What a part takes; weights of some layers at fewer bits."""
        profile, narrow = self._prices.of(part), weight_bits or {}
        width = profile.operand_bits
        held = None if width is None else sum(_bytes(one, width, narrow.get(one.name)) for one in part.layers)
        return _Totals(self._energy(part, narrow), float(part.per_sample.synaptic.mean()), held)

    def _energy(self, part: PartCount, weight_bits: Mapping[str, int]) -> float:
        """Microjoules of a part, mean of a sample; weights of some layers at fewer bits."""
        total, profile = 0.0, self._prices.of(part)
        for layer in part.layers:
            priced = price_layer(layer, profile, self._accounting, spiking=self._system.spiking)
            if priced.unpriced:
                raise ConfigError(
                    f"has no price for {', '.join(priced.unpriced)} of {part.name}/{layer.name}, so nothing "
                    "can be compared",
                    where=f"profile {profile.name}",
                    hint="Choose another profile or column, or one for parts on a host (--host-profile).",
                )
            total += float(priced.total.mean())
            bits = weight_bits.get(layer.name)
            if bits is not None and Store.WEIGHTS in priced.kinds:
                price = access_price(profile, layer.footprint.weights, bits)
                narrow = 0.0 if price is None else price.picojoules * float(layer.traffic.weight_reads.mean())
                total += narrow - float(priced.kinds[Store.WEIGHTS].mean())
        return total * MICROJOULE

    def _tried(
        self,
        change: Change,
        part: ObservedPart,
        layer: str | None,
        words: str,
        network: Network,
        bits: int | None = None,
    ) -> Advice:
        """One part changed: energy of the whole system, whether the outputs stay, and accuracy."""
        self._progress(f"{part.name}: {change} {layer or ''}")
        outputs = observe(network, part.recording).outputs
        count = self._count(part, network, part.recording)
        narrow = {} if layer is None or bits is None else {layer: bits}
        after = self._with({part.name: self._totals(count, narrow)})
        same = np.array_equal(outputs, part.activity.outputs)
        # The same outputs give the same decisions, of whatever comes behind them too.
        accuracy = self._accuracy if same else part.accuracy_of(outputs)
        return self._advice(change, words, after, accuracy, part=part.name, layer=layer, same_outputs=same)

    def _with(self, changed: Mapping[str, _Totals]) -> dict[str, _Totals]:
        """All parts of the system, some of them changed."""
        return {**self._each, **changed}

    def _ranked(self, parts: Mapping[str, _Totals]) -> float | None:
        """What is to become less, of the parts that are asked about."""
        asked = self._of or tuple(parts)
        return _added(parts[name] for name in asked if name in parts).of(self._by)

    def _together(self) -> Advice | None:
        """All changes of all parts that leave the outputs as they are."""
        changed = {}
        for part in self._parts:
            self._progress(f"{part.name}: all safe changes")
            pruned = without_unused(part)
            if pruned is not None:
                changed[part.name] = self._totals(self._count(part, pruned, part.recording))
        if not changed:
            return None
        words = f"all safe changes of {', '.join(changed)}"
        return self._advice(Change.ALL_EXACT, words, self._with(changed), self._accuracy, same_outputs=True)

    def _count(self, part: ObservedPart, network: Network, recording: Recording) -> PartCount:
        return count_network(network, recording, name=part.name, batch=self._options.batch)

    def _advice(
        self,
        change: Change,
        words: str,
        parts: Mapping[str, _Totals],
        accuracy: float | None,
        *,
        part: str | None = None,
        layer: str | None = None,
        same_outputs: bool = False,
    ) -> Advice:
        before, now, after = self._ranked(self._each), self._ranked(parts), _added(parts.values())
        return Advice(
            change=change,
            part=part,
            layer=layer,
            words=words,
            same_outputs=same_outputs,
            before_uj=self._before.energy_uj,
            after_uj=after.energy_uj,
            before_synops=self._before.synops,
            after_synops=after.synops,
            before_bytes=self._before.memory_bytes,
            after_bytes=after.memory_bytes,
            saved=(before - now) / before if before and now is not None else 0.0,
            accuracy_before=self._accuracy,
            accuracy_after=accuracy,
        )

    def _exact(self, part: ObservedPart) -> Iterator[Advice]:
        network = part.network
        neurons, weights = removals(part)
        for name, mask in neurons.items():
            of = _units(mask, network.node(name).output_shape, "neurons", "channels")
            words = f"take out {of} that never fire or are never read"
            yield self._tried(Change.PRUNE, part, name, words, without_neurons(network, {name: mask}))
        for name, mask in weights.items():
            of = _units(mask, network.node(name).input_shape, "inputs", "input channels")
            words = f"drop the weights of {of} that never carry an event"
            yield self._tried(Change.DROP, part, name, words, without_weights(network, {name: mask}))
        pruned = without_unused(part)
        if pruned is not None and len(neurons) + len(weights) > 1:
            yield self._tried(
                Change.ALL_EXACT, part, None, "all of the part's prune and drop at once", pruned
            )

    def _bits(self, part: ObservedPart) -> Iterator[Advice]:
        width = self._profile.operand_bits
        if part.readout is None or width is None or not self._profile.memories:
            return
        for node in part.network.nodes:
            for bits in _BITS if node.synaptic else ():
                if bits < width:
                    words = f"weights of {bits} bits instead of {width}, read from a memory of that width"
                    network = with_weights(part.network, node.name, rounded(node.parameters.weight, bits))
                    yield self._tried(Change.BITS, part, node.name, words, network, bits)

    def _steps(self) -> Iterator[Advice]:
        """Shorter recordings for all parts; only where each of them takes its steps one after the other."""
        if len(self._parts) < len(self._system.work) or self._parts[-1].readout is None:
            return
        last, steps = self._parts[-1], self._parts[-1].count.steps
        for fewer in dict.fromkeys(max(1, round(steps * share)) for share in _SHARES):
            if fewer == steps:
                continue
            self._progress(f"{fewer} steps")
            shorter = [replace(one.recording, values=one.recording.values[:fewer]) for one in self._parts]
            after = {
                one.name: self._totals(self._count(one, one.network, recording))
                for one, recording in zip(self._parts, shorter, strict=True)
            }
            accuracy = last.accuracy_of(last.activity.outputs[:fewer])
            yield self._advice(Change.STEPS, f"decide after {fewer} of {steps} steps", after, accuracy)

    def _rate(self, rival: CountedSystem) -> Advice:
        after = {part.name: self._totals(part) for part in rival.parts}
        before, now = (
            sum(float(part.per_sample.spikes.mean()) for part in one.parts) for one in (self._system, rival)
        )
        words = f"the run {rival.path}: {now:,.0f} spikes a sample instead of {before:,.0f}"
        accuracy = None if rival.deployment is None else rival.deployment.test_accuracy
        return self._advice(Change.RATE, words, after, accuracy)


def _added(several: Iterable[_Totals]) -> _Totals:
    """Parts together."""
    return reduce(add, several, _Totals(0.0, 0.0, 0))


def _bytes(layer: LayerCount, width: int, weight_bits: int | None) -> int:
    """Bytes that a layer keeps, its weights at fewer bits where that is asked for."""
    kept = layer.footprint
    bits = kept.weights * (weight_bits or width) + (kept.states + kept.activations) * width
    return -(-bits // 8)


def objective_of(result: CheckResult) -> tuple[Objective, str]:
    """What a system is over in, or nearest to be, of what changes can save; and the limit in words."""
    ranked = [
        (math.inf if one.share is None and one.passed is False else one.share or 0.0, one)
        for one in result.findings
        if one.quantity in _OBJECTIVES and one.value is not None
    ]
    if not ranked:
        raise ConfigError(
            f"limits nothing that a change could save ({', '.join(_OBJECTIVES)})", where="--budget"
        )
    share, most = max(ranked, key=lambda one: one[0])
    words = "above its limit of 0" if share == math.inf else f"at {percent(share)} % of its limit"
    return _OBJECTIVES[most.quantity], f"{most.quantity} is {words}"


def column_of(name: str | None, budget: Budget | None) -> str:
    """The accounting that advice is given in: what is named, that of the budget, or with memory.

    Raises:
        ConfigError: one that there is no advice in, or another than the budget's.
    """
    if name is not None and name not in _COLUMNS:
        raise ConfigError(f"is {name!r} where one of {', '.join(_COLUMNS)} is wanted", where="--column")
    signed = None if budget is None else budget.column
    if signed is not None and name not in {None, signed}:
        raise ConfigError(
            f"the budget is for the column {signed}, and {name} is given",
            where="--column",
            hint="Leave it out, or change the budget.",
        )
    return name or signed or "memory"


def _units(mask: Mask, shape: Sequence[int], one_by_one: str, in_channels: str) -> str:
    """How many neurons or channels of how many."""
    return f"{int(mask.sum())} of {mask.size} {one_by_one if len(shape) == 1 else in_channels}"


def _unchanged_parts(system: CountedSystem) -> Iterator[str]:
    for work, part in zip(system.work, system.parts, strict=True):
        if work.graph.suffix == ".onnx":
            yield f"{part.name}: an ONNX graph is not changed"
        elif work.coding is not None:
            yield f"{part.name}: source and channel coding are not changed"


def _unchanged_bits_and_steps(
    system: CountedSystem, parts: Sequence[ObservedPart], profile: Profile
) -> Iterator[str]:
    if not any(one.readout for one in parts):
        yield "fewer steps and bits: no NIR part with labels and a readout is the last, so no accuracy"
        return
    if len(parts) < len(system.work):
        yield "fewer steps: an ONNX part may look ahead, so a shorter recording is another input"
    if len(parts) > 1:
        yield "fewer bits before the last part: what they change there has to cross the channel anew"
    if profile.operand_bits is None or not profile.memories:
        yield f"fewer bits: {profile.name} prices no memory by width"


def _unchanged_neurons(parts: Sequence[ObservedPart]) -> Iterator[str]:
    for part in parts:
        for node in part.network.nodes:
            alone = silent_alone(part.activity, node)
            if alone:
                yield (
                    f"prune: {counted(alone, 'neuron')} of {part.name}/{node.name} without a spike, in "
                    "channels where others fire; a kernel computes whole channels"
                )
