"""Receivers side by side on a microcontroller: what a step takes, and from how few events on events pay.

python benchmarks/rivals.py FIRMWARE ...

FIRMWARE are folders of `nsc-deploy export --target c`, event-driven or conventional. Instructions are counted
by QEMU and cycles bounded from Arm's timings, both without wait states; RAM is with the stack; accuracies are
those of the check at the end of each export, on at most 256 samples of its folder. For an event receiver the
break-even with each conventional one is the number of events a synapse and step at which both would take as
many instructions, on a line through its own steps.
"""

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.program import count_program
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.deployment import CDeployment, read_c_deployment
from nsc_deploy.exporters.c.events import EventCode
from nsc_deploy.exporters.c.qemu import DEFAULT_CPU, QemuRunner
from nsc_deploy.exporters.c.trace import StepCycles, count_cycles
from nsc_deploy.exporters.inputs import choose_samples
from nsc_deploy.graphs.formats.recording import Recording

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One receiver.

    Attributes:
        name: of its folder.
        deployment: the folder.
        values: the samples that ran.
        instructions: [steps, samples].
        cycles: of the first sample.
    """

    name: str
    deployment: CDeployment
    values: NDArray[np.float32]
    instructions: Counts
    cycles: StepCycles

    def __str__(self) -> str:
        """As a row of a table in Markdown."""
        memory, found = self.deployment.manifest.memory, self.deployment.manifest.verification
        assert found is not None
        assert found.accuracy is not None
        assert found.reference_accuracy is not None
        cells = (
            f"{self.instructions.mean():,.0f}",
            f"{self.instructions.max():,}",
            f"{self.instructions.sum(axis=0).mean():,.0f}",
            f"{self.cycles.low.mean():,.0f} to {self.cycles.high.mean():,.0f}",
            f"{memory.flash_bytes:,}",
            f"{memory.ram_bytes:,}",
            f"{found.accuracy:.2%}",
            f"{found.reference_accuracy:.2%}",
            f"{found.samples}",
        )
        return f"| {self.name} | {' | '.join(cells)} |"


def measured(folder: Path, samples: int, cpu: str) -> Row:
    """A receiver on its recorded samples."""
    found = read_c_deployment(folder)
    values = choose_samples(found.opened(), None, samples).values
    with ExitStack() as closing:
        settings = RunSettings(layers=False, cpu=cpu, closing=closing)
        runner = QemuRunner(found.code, found.source(settings), settings)
        instructions = runner.run(values).instructions
        assert instructions is not None
        cycles = count_cycles(runner, values[:, :1], instructions[:, :1])
    return Row(folder.name, found, values, instructions, cycles)


def break_even(row: Row, code: EventCode, rivals: list[Row]) -> None:
    """Print from how few events on an event receiver takes fewer instructions than each rival."""
    recording = Recording(row.values, code.network.input_node.emits, code.network.step_seconds)
    count = count_program(code, recording, name=row.name)
    met, synapses = count.synops, sum(layer.synapses for layer in count.layers)
    assert met is not None
    slope, fixed = np.polyfit(met.reshape(-1), row.instructions.reshape(-1), 1)
    print(
        f"\n{row.name}: {fixed:,.0f} instructions a step and {slope:.2f} an event at a synapse; "
        f"{met.mean() / synapses:.4f} events a synapse and step of {synapses:,}"
    )
    for rival in rivals:
        at = (rival.instructions.mean() - fixed) / slope / synapses
        share = row.instructions.mean() / rival.instructions.mean()
        print(
            f"- {share:.2f} times the instructions of {rival.name}; break-even at {at:.3f} events a synapse"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("firmware", type=Path, nargs="+")
    parser.add_argument("--samples", type=int, default=20, help="in QEMU")
    parser.add_argument("--cpu", default=DEFAULT_CPU)
    options = parser.parse_args()
    print(
        "| Receiver | instructions a step | worst | a sample | cycles a step, bounds | flash | RAM "
        "| accuracy | in floating point | samples |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    rows = [measured(folder, options.samples, options.cpu) for folder in options.firmware]
    print("\n".join(map(str, rows)))
    rivals = [row for row in rows if not isinstance(row.deployment.code, EventCode)]
    for row in rows:
        if isinstance(row.deployment.code, EventCode):
            break_even(row, row.deployment.code, rivals)


if __name__ == "__main__":
    main()
