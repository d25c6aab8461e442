"""Where the operations of a part run on a target: verdicts, pools and cores, ready to be watched."""

from dataclasses import dataclass

from nsc_deploy.energy.counting.on_chip import ActivityMeter, ChipActivity
from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import Status, Target, Verdict
from nsc_deploy.exporters.chips.chip import ManyCores, StepTime
from nsc_deploy.exporters.chips.fit import Fit
from nsc_deploy.exporters.chips.placement import Core, Usage
from nsc_deploy.exporters.chips.target import ChipTarget
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network


@dataclass(frozen=True)
class Placed:
    """A part on a target.

    Attributes:
        target: its name.
        title: for people.
        nodes: a verdict on each.
        pools: of the whole target.
        cores: with the neurons and pools of each; empty where the target has none, or nothing was placed.
        problems: why the part does not fit; empty where it does.
        notes: what was not checked.
        sources: publications of limits and durations.
        activity: what happens on it; None where it does not fit or its network is not published.
        step_time: durations, where they are published.
    """

    target: str
    title: str
    nodes: tuple[Verdict, ...]
    pools: tuple[Usage, ...]
    cores: tuple[Core, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    activity: ChipActivity | None = None
    step_time: StepTime | None = None


class Placing:
    """A part that is placed on a target and watched while it is counted.

    Args:
        target: where to.
        network: the part.
        recording: what it is counted over.
    """

    def __init__(self, target: Target, network: Network, recording: Recording) -> None:
        self._target = target
        self.meter: ActivityMeter | None = None
        self._fit = target.fit(network) if isinstance(target, ChipTarget) else None
        self._nodes = target.check(network) if self._fit is None else self._fit.verdicts
        self._pools = self._pools_of(network)
        placement = None if self._fit is None or not self._fit.fits else self._fit.placement
        if placement is not None and placement.routes:
            self.meter = ActivityMeter(network, placement, recording, self._step_time)

    @property
    def _step_time(self) -> StepTime | None:
        layout = None if self._fit is None else self._fit.chip.layout
        return layout.step_time if isinstance(layout, ManyCores) else None

    def placed(self) -> Placed:
        """What was found, once the part has run."""
        fit = self._fit
        cores = () if fit is None or fit.placement is None else fit.placement.cores
        return Placed(
            target=self._target.name,
            title=self._target.summary.split(":")[0] if fit is None else fit.chip.title,
            nodes=self._nodes,
            pools=self._pools,
            cores=cores,
            problems=_problems(self._nodes, fit),
            notes=() if fit is None else fit.notes,
            sources=() if fit is None else _sources(fit),
            activity=None if self.meter is None else self.meter.activity(),
            step_time=self._step_time,
        )

    def _pools_of(self, network: Network) -> tuple[Usage, ...]:
        if self._fit is not None:
            return self._fit.pools
        refused = any(one.status is Status.REFUSED for one in self._nodes)
        if self._target.name != "lava" or refused:
            return ()
        # Other reports need nothing of the lowering to Lava.
        from nsc_deploy.exporters.lava.resources import lava_resources

        try:
            return lava_resources(network)
        except ExportError:
            # The lowering finds an obstacle that no verdict told of: then nothing is known of the pools.
            return ()


def _sources(fit: Fit) -> tuple[str, ...]:
    return tuple(f"{source.title} ({source.year})" for source in fit.chip.sources.values())


def _problems(nodes: tuple[Verdict, ...], fit: Fit | None) -> tuple[str, ...]:
    refused = [
        f"{one.node} ({one.primitive}) {one.reason}. {one.remedy}".strip()
        for one in nodes
        if one.status is Status.REFUSED
    ]
    broken = [
        f"{one.rule}: {'' if one.where == 'chip' else f'{one.where}: '}{one.problem}. {one.remedy}"
        for one in (() if fit is None else fit.breaches)
    ]
    return (*refused, *broken)
