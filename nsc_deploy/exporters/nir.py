"""The targets "nir" and "nir-plain": a graph as a NIR file that says all there is to say."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nsc_deploy.exporters.base import CheckResult, DeployedPart, Deployment, ExportRequest, Status
from nsc_deploy.exporters.float32 import (
    Written,
    check_exact,
    open_exact_deployment,
    write_exact_deployment,
)
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.network import RESETTING, Network, Node, Reset
from nsc_deploy.graphs.primitives import PRIMITIVES
from nsc_deploy.passes.base import NetworkPass, run_passes
from nsc_deploy.passes.dead_code import DropDeadNodes
from nsc_deploy.passes.fold_scales import FoldScales
from nsc_deploy.passes.plain_reset import WRITTEN_OUT, PlainResets
from nsc_deploy.passes.verdict import Refusal, Rule
from nsc_deploy.verification.runner import ReferenceRunner

NETWORK = "network.nir"
PIPELINE: tuple[NetworkPass, ...] = (DropDeadNodes(), FoldScales())
_BECOMES = dict.fromkeys(PRIMITIVES, (Status.NATIVE, "itself, every shape stated"))
_LOOP = {"IF": (Status.SUBSTITUTED, "an integrator, a threshold, and a loop that takes the threshold off")}


@dataclass(frozen=True)
class NirTarget:
    """NIR 1.0 in normal form: flat, no dead nodes, few Scales, time step and reset in its metadata.

    Poolings stay: every tool knows them, and weights that have taken one in are larger.

    Attributes:
        name: as given to `--target`.
        summary: one line for the list of targets.
        pipeline: what is done to the graph.
        subtracting: what a primitive becomes in a graph that resets by subtraction, where not itself.
        rules: what it refuses.
    """

    name: str
    summary: str
    pipeline: tuple[NetworkPass, ...] = PIPELINE
    subtracting: Mapping[str, tuple[Status, str]] | None = None
    rules: tuple[Rule, ...] = ()

    def check(self, network: Network, _weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node."""
        own = self.subtracting if network.reset is Reset.SUBTRACT else None
        return check_exact(network, {**_BECOMES, **(own or {})}, self.rules)

    def export(self, request: ExportRequest) -> Path:
        """Write the graph, read it back, and let the folder appear where it computes the same."""
        return write_exact_deployment(
            request, self.name, ("nir",), lambda folder: self._write(folder, request.network)
        )

    def open(self, folder: Path) -> Deployment:
        """Read the folder; the graph in it runs in the reference simulator."""
        opened = open_exact_deployment(folder, self.name, lambda _graph, _settings: self._runner(folder))
        file = folder / NETWORK
        return replace(opened, parts=(DeployedPart(opened.parts[0].name, None, file, read_network(file)),))

    def _write(self, folder: Path, network: Network) -> Written:
        normal = run_passes(network, self.pipeline)
        write_network(folder / NETWORK, normal.graph)
        notes = tuple(f"{note.node}: {note.text}" for _, note in normal.notes)
        # A reset that is written out rounds otherwise from some step on, even where its sums are exact.
        rounds = any(not note.exact or note.kind == WRITTEN_OUT for _, note in normal.notes)
        files = ((NETWORK, "the graph in normal form"),)
        return Written(files, (self._runner(folder),), notes, rounds=rounds)

    def _runner(self, folder: Path) -> ReferenceRunner:
        return ReferenceRunner(read_network(folder / NETWORK), name=self.name)


def resets_can_be_written_out(node: Node, network: Network) -> Refusal | None:
    """A potential that decays between a spike and the loop is another one."""
    if node.primitive not in RESETTING - {"IF"} or network.reset is not Reset.SUBTRACT:
        return None
    return (
        f"resets by subtraction, which can be written out for an IF alone: a {node.primitive} leaks",
        "Take --target nir, whose metadata say it, or train with a reset to zero.",
    )


TARGET = NirTarget(
    "nir",
    "NIR in normal form: flat, dead nodes removed, Scales folded where no number changes, time step and "
    "reset stated",
)
PLAIN = NirTarget(
    "nir-plain",
    "the same without a reset by subtraction, which NIR has no word for: an integrator, a threshold and a "
    "loop, for readers that know nothing of our metadata",
    # Behind the loops no Scale is folded any more: it would go into the weights of a neuron behind.
    pipeline=(*PIPELINE, PlainResets()),
    subtracting=_LOOP,
    rules=(resets_can_be_written_out,),
)
