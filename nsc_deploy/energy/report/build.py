"""From counted systems and a profile to the report, its ratios and its Pareto fronts."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

import nsc_deploy
from nsc_deploy.deployment import Deployment, Place, Side
from nsc_deploy.energy.counting.operations import LayerCount, Operations, PartCount, Store
from nsc_deploy.energy.pricing.price import (
    ACCOUNTINGS,
    MEMORY,
    OPPONENT,
    Accounting,
    LayerEnergy,
    PriceBook,
    price_layer,
)
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.break_even import (
    against,
    layer_break_even,
    radio_break_even,
    whole_break_even,
)
from nsc_deploy.energy.report.definitions import DEFINITIONS, POSTER, POSTER_NOTE, estimated
from nsc_deploy.energy.report.measures import Meter
from nsc_deploy.energy.report.microcontroller import MOST_INSTRUCTIONS
from nsc_deploy.energy.report.on_chip import on_target
from nsc_deploy.energy.report.quantity import (
    OF_SAMPLES,
    ON_DEMAND,
    UNITS,
    Answer,
    Figure,
    Headline,
    Lows,
    Quantity,
    Unanswered,
    Values,
)
from nsc_deploy.energy.report.schema import (
    Accesses,
    Counts,
    FloatGraph,
    Layer,
    PartReport,
    Poster,
    PotentialWay,
    Ratio,
    Report,
    SystemReport,
    TrainedOpponent,
)
from nsc_deploy.energy.report.statistics import (
    Energy,
    addressing_uj,
    kept,
    load,
    memory_use,
    over_time,
    pareto_front,
    radio_uj,
    spread,
    static_uj,
    sum_energy,
    sum_records,
)
from nsc_deploy.energy.sources import hashes
from nsc_deploy.energy.systems import CountedSystem
from nsc_deploy.graphs.network import Signal

OPPONENT_SYSTEM = "qnn"
"""The system that trains what the bit-matched column prices."""
_PACKAGES = ("numpy", "nir", "onnx", "onnxruntime")
LayerPrices = dict[str, LayerEnergy]
PartPrices = list[LayerPrices]


def build_report(
    systems: Sequence[CountedSystem],
    prices: PriceBook,
    *,
    options: Mapping[str, str],
    accountings: Sequence[Accounting] = ACCOUNTINGS,
) -> Report:
    """Price the counts and put everything together.

    Args:
        systems: counted; the first one is what the others are compared with.
        prices: of the operations.
        options: what the user asked for, for the header.
        accountings: the columns.
    """
    profile = prices.profile
    reports = [_system(system, prices, accountings) for system in systems]
    hosted = any(part.place is Place.HOST for system in systems for part in system.parts)
    coded = any(one.coding is not None for system in systems for one in system.work)
    columns = [one.name for one in accountings if not one.spiking_only]
    with_ratios = [
        report.model_copy(
            update={
                "ratio": _ratios(report, reports[0], accountings),
                "against": against(report, reports),
                "radio_break_even": radio_break_even(report, reports[index:], columns, profile),
            }
        )
        for index, report in enumerate(reports, start=1)
    ]
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        options=dict(options),
        profile=profile,
        host_profile=prices.host,
        target=_placed_on(systems) or systems[0].target,
        columns=tuple(one.column for one in accountings),
        systems=tuple(with_ratios),
        fronts={one.name: pareto_front(reports, one.name) for one in accountings if not one.spiking_only},
        trained_opponents=_trained_opponents(reports),
        definitions=DEFINITIONS,
        estimated=estimated(
            prices, max(system.samples for system in systems), _placed_on(systems), hosted=hosted, coded=coded
        ),
        poster_note=POSTER_NOTE if any(report.poster for report in reports) else None,
    )


def _placed_on(systems: Sequence[CountedSystem]) -> str | None:
    """The target that graphs were placed on; None where there is none, or only what an export wrote."""
    return next((one.target for one in systems if one.exported is None and one.target is not None), None)


def _versions() -> dict[str, str]:
    return {
        "nsc-deploy": nsc_deploy.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _system(system: CountedSystem, book: PriceBook, accountings: Sequence[Accounting]) -> SystemReport:
    counts, spiking = system.parts, system.spiking
    columns = [one for one in accountings if spiking or not one.spiking_only]
    prices = [price_part(part, book.of(part), columns, spiking=spiking) for part in counts]
    parts = tuple(
        _part(system, index, prices[index], book.of(counts[index]), columns) for index in range(len(counts))
    )
    operations = Operations.sum((part.per_sample for part in counts), system.samples)
    return SystemReport(
        label=system.label,
        path=str(system.path),
        **_facts(system.deployment),
        accuracy=system.accuracy,
        accuracy_of=system.accuracy_of,
        spiking=spiking,
        samples=system.samples,
        parts=parts,
        sides={
            side: sum_prices(
                (row for part, row in zip(counts, prices, strict=True) if part.side is side), columns
            )
            for side in Side
            if any(part.side is side for part in counts)
        },
        counts=sum_records(Counts, (part.counts for part in parts)),
        accesses=sum_records(Accesses, (part.accesses for part in parts)),
        synops=spread(operations.synaptic),
        spikes=spread(operations.spikes),
        float_graph=_float_graph(system),
        headline=_headline(system, book),
        energy=sum_prices(prices, columns),
        network_uj=_network(parts),
        radio_uj=radio_uj(system.deployment, book.profile),
        addressing_uj=addressing_uj(counts, book.profile),
        static_uj=static_uj(counts, book.profile),
        potentials=_potentials(system, book, columns),
        break_even=whole_break_even(counts, prices) if _compared(columns) else None,
        against=(),
        ratio={},
    )


def _compared(columns: Sequence[Accounting]) -> bool:
    """Whether there is a bit-matched network beside the spiking one."""
    return {MEMORY, OPPONENT} <= set(columns)


def _float_graph(system: CountedSystem) -> FloatGraph | None:
    """What the integers of a deployment were made from; None where none were counted."""
    if not system.floats:
        return None
    operations = Operations.sum((part.per_sample for part in system.floats), system.samples)
    layers = [layer for part in system.floats for layer in part.layers]
    return FloatGraph(
        neurons=sum(layer.neurons for layer in layers),
        synapses=sum(layer.synapses for layer in layers),
        synops=spread(operations.synaptic),
        spikes=spread(operations.spikes),
    )


def _facts(deployment: Deployment | None) -> dict[str, Any]:
    """What the deployment of a run says of the system; None each for a bare graph."""
    if deployment is None:
        names = ("system", "receiver", "dataset", "snr_db", "snr_to_db", "channel")
        return dict.fromkeys((*names, "channel_uses", "poster"))
    channel, energy = deployment.channel, POSTER.get(deployment.system)
    return {
        "system": deployment.system,
        "receiver": deployment.receiver,
        "dataset": deployment.dataset,
        "snr_db": channel.snr_db,
        "snr_to_db": channel.snr_to_db,
        "channel": channel.kind,
        "channel_uses": channel.uses_per_step * channel.steps,
        "poster": energy and Poster(energy_uj=energy, ratio=energy / POSTER["att-neurosc"]),
    }


def _potentials(
    system: CountedSystem, book: PriceBook, columns: Sequence[Accounting]
) -> tuple[PotentialWay, ...]:
    """How a decoder's potentials could reach its converter; none of other systems."""
    if not system.ways:
        return ()
    # Reports of other systems load nothing of it.
    from nsc_deploy.energy.report.potentials import price_ways

    return price_ways(system.ways, book, columns)


def _network(parts: Sequence[PartReport]) -> float | None:
    """Energy of the messages of all parts on the target; None as soon as that of one is unknown."""
    placed = [part.on_target for part in parts if part.on_target is not None and not part.on_target.on_host]
    known = [one.energy.mean_uj for one in placed if one.energy is not None]
    return sum(known) if known and len(known) == len(placed) else None


def price_part(
    part: PartCount, profile: Profile, accountings: Sequence[Accounting], *, spiking: bool
) -> PartPrices:
    """Each layer of a part in each accounting; `spiking` says whether the whole system is."""
    return [
        {one.name: price_layer(layer, profile, one, spiking=spiking) for one in accountings}
        for layer in part.layers
    ]


def _part(
    system: CountedSystem,
    index: int,
    prices: PartPrices,
    profile: Profile,
    columns: Sequence[Accounting],
) -> PartReport:
    part, work = system.parts[index], system.work[index]
    graph_hash, recording_hash = hashes(work)
    layers = tuple(_layer(layer, price, profile) for layer, price in zip(part.layers, prices, strict=True))
    operations = part.per_sample
    fields = {
        "graph": work.graph.name,
        "graph_sha256": graph_hash,
        "recording": work.recording.name,
        "recording_sha256": recording_hash,
        "synapses": sum(layer.synapses for layer in part.layers),
        "events_per_synapse": _events_per_synapse(part),
        "counts": sum_records(Counts, (layer.counts for layer in layers)),
        "accesses": sum_records(Accesses, (layer.accesses for layer in layers)),
        "synops": spread(operations.synaptic),
        "spikes": spread(operations.spikes),
        "load": load(part, profile),
        "memory": memory_use(layer.kept for layer in layers),
        "over_time": over_time(part),
        "energy": sum_prices([prices], columns),
        "layers": layers,
        "break_even": layer_break_even(part, prices) if _compared(columns) else (),
        "on_target": None
        if system.target is None or system.exported is not None
        else on_target(
            part, system.placed[index], system.target, profile, along_with=_along_with(system, part)
        ),
    }
    return PartReport.model_validate(vars(part) | fields)


def _along_with(system: CountedSystem, part: PartCount) -> str | None:
    """The part whose code on the target holds this one too."""
    both = zip(system.parts, system.placed, strict=False)
    return next((one.name for one, at in both if at is not None and at.along == part.name), None)


def _events_per_synapse(part: PartCount) -> float | None:
    layers = [layer for layer in part.layers if layer.once is not None]
    eventful = [layer for layer in layers if layer.arrives is Signal.EVENTS and layer.synapses]
    if not eventful:
        return None
    events = sum(float(layer.per_sample.acs.mean()) for layer in eventful)
    return events / sum(layer.synapses for layer in eventful)


def _layer(layer: LayerCount, prices: LayerPrices, profile: Profile) -> Layer:
    return Layer(
        name=layer.name,
        primitive=layer.primitive,
        arrives=layer.arrives,
        neurons=layer.neurons,
        synapses=layer.synapses,
        counts=Counts(**layer.per_sample.means(), dense=layer.dense),
        accesses=Accesses(**layer.traffic.means()),
        kept={store: kept(layer.footprint.of(store), profile) for store in Store},
        spikes_over_time=_spikes_over_time(layer),
        energy={name: sum_energy([price]) for name, price in prices.items()},
    )


def _spikes_over_time(layer: LayerCount) -> tuple[float, ...] | None:
    """Spikes of each step, mean over the samples, of a layer that can fire."""
    if layer.per_step is None or not layer.per_step.spikes.any():
        return None
    return tuple((layer.per_step.spikes / len(layer.per_sample.spikes)).tolist())


def sum_prices(parts: Iterable[PartPrices], accountings: Sequence[Accounting]) -> dict[str, Energy]:
    """The energy of all layers of several parts, by accounting; of none at all it is 0."""
    layers = [layer for part in parts for layer in part]
    return {one.name: sum_energy([layer[one.name] for layer in layers]) for one in accountings}


def _trained_opponents(reports: Sequence[SystemReport]) -> tuple[TrainedOpponent, ...]:
    """Runs of the bit-matched network among the systems; none where nothing spiking stands beside them."""
    if not any(report.spiking for report in reports):
        return ()

    def mean(energies: Mapping[str, Energy]) -> float | None:
        energy = energies.get(MEMORY.name)
        return None if energy is None or energy.unpriced else energy.mean_uj

    return tuple(
        TrainedOpponent(
            system=report.label,
            accuracy=report.accuracy,
            energy_uj=mean(report.energy),
            receiver_uj=mean(report.sides.get(Side.RECEIVER, {})),
        )
        for report in reports
        if report.system == OPPONENT_SYSTEM
    )


def _ratios(report: SystemReport, first: SystemReport, accountings: Sequence[Accounting]) -> dict[str, Ratio]:
    def receiver(one: SystemReport, name: str) -> Energy | None:
        return one.sides.get(Side.RECEIVER, {}).get(name)

    return {
        one.name: Ratio(
            system=_ratio(report.energy.get(one.name), first.energy.get(one.name)),
            receiver=_ratio(receiver(report, one.name), receiver(first, one.name)),
        )
        for one in accountings
    }


def _ratio(energy: Energy | None, first: Energy | None) -> float | None:
    if energy is None or first is None or energy.unpriced or first.unpriced or first.mean_uj == 0:
        return None
    return energy.mean_uj / first.mean_uj


def _headline(system: CountedSystem, prices: PriceBook) -> Headline:
    """Measure a whole system once: every quantity but those on demand.

    Args:
        system: counted.
        prices: of its operations.
    """
    meter = Meter(system, tuple(range(len(system.parts))), prices, MEMORY, MOST_INSTRUCTIONS)
    return Headline(
        samples=system.samples,
        steps=max(part.steps for part in system.parts),
        dt=system.parts[0].dt,
        arrays=system.arrays,
        synapses=sum(layer.synapses for part in system.parts for layer in part.layers),
        column=MEMORY.name,
        target=system.target,
        figures={
            one: _figure(one, meter.measure(one), system.samples) for one in Quantity if one not in ON_DEMAND
        },
    )


def _lows(values: Values) -> Lows:
    return Lows(mean=float(values.mean()), p95=float(np.percentile(values, 95)), worst=float(values.max()))


def _figure(quantity: Quantity, found: Answer, samples: int) -> Figure:
    unit = UNITS[quantity]
    if isinstance(found, Unanswered):
        return Figure(
            unit=unit,
            mean=None,
            p95=None,
            worst=None,
            sample=None,
            step=None,
            lower_bound=False,
            not_published=found.not_published,
            why=str(found),
        )
    values = found.values
    worst = int(values.argmax()) if quantity in OF_SAMPLES else None
    return Figure(
        unit=unit,
        mean=float(values.mean()),
        p95=float(np.percentile(values, 95)),
        worst=float(values.max()),
        sample=worst,
        step=None if found.steps is None or worst is None else int(found.steps[worst]),
        lower_bound=bool(found.bound),
        not_published=found.not_published,
        why=found.bound or "; ".join(found.problems),
        low=None if found.low is None else _lows(found.low),
        basis=found.basis,
        of_samples=len(values) if found.basis and len(values) < samples else None,
        left_out=found.left_out,
    )
