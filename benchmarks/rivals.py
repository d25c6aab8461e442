"""A receiver of events beside conventional ones in 8 bits, on a Cortex-M4.

python benchmarks/rivals.py FIRMWARE RUN ...

FIRMWARE is an export of an event receiver to C, with its front end; each RUN is a conventional one (fc, lstm)
with a receiver in ONNX. Ranges of the latter are chosen on every second recorded sample, and accuracy is that
of the others. Instructions are counted by QEMU; RAM is the state, without the stack.
"""

import argparse
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import read_deployment
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.compilers import STANDARD, arm_compiler
from nsc_deploy.exporters.c.deployment import read_c_deployment
from nsc_deploy.exporters.c.int8.network import decide, emulate
from nsc_deploy.exporters.c.int8.quantise import quantise
from nsc_deploy.exporters.c.int8.runners import NAME, run_in_qemu
from nsc_deploy.exporters.c.int8.write import header_text, source_text
from nsc_deploy.exporters.c.qemu import DEFAULT_CPU, QemuRunner
from nsc_deploy.exporters.inputs import choose_samples
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.io.scratch import scratch_folder

CORE = DEFAULT_CPU


@dataclass(frozen=True)
class Row:
    """One receiver."""

    name: str
    instructions: NDArray[np.int64]
    flash: int
    ram: int
    accuracy: float
    float_accuracy: float

    def __str__(self) -> str:
        """As a row of a table in Markdown."""
        sample = self.instructions.sum(axis=0)
        cells = (
            f"{self.instructions.mean():,.0f}",
            f"{self.instructions.max():,}",
            f"{sample.mean():,.0f}",
            f"{self.flash:,}",
            f"{self.ram:,}",
            f"{self.accuracy:.2%}",
            f"{self.float_accuracy:.2%}",
        )
        return f"| {self.name} | {' | '.join(cells)} |"


def event(folder: Path, samples: int) -> Row:
    """An exported event receiver on its recorded samples; its decisions are the emulator's, bit for bit."""
    found = read_c_deployment(folder)
    record, memory = found.manifest.verification, found.manifest.memory
    assert record is not None and record.accuracy is not None and record.reference_accuracy is not None
    with ExitStack() as closing:
        settings = RunSettings(layers=False, cpu=CORE, closing=closing)
        runner = QemuRunner(found.layout, found.source(settings), found.network, settings)
        run = runner.run(choose_samples(found.opened(), None, samples).values)
    assert run.instructions is not None
    stack = sum(one.bytes for one in memory.ram if one.holds == "stack")
    ram = memory.ram_bytes - stack
    name = "event, samples in" if found.layout.front_end else "event"
    return Row(name, run.instructions, memory.flash_bytes, ram, record.accuracy, record.reference_accuracy)


def conventional(run: Path, samples: int) -> Row:
    """A conventional receiver in 8 bits."""
    deployment = read_deployment(run)
    part = deployment.parts[-1]
    recording = read_recording(run / part.recording)
    assert recording.labels is not None
    readout = deployment.readout
    network = quantise(
        run / part.graph, recording.values[:, ::2], classes=readout.classes, group=readout.group
    )
    values, labels = recording.values[:, 1::2], recording.labels[1::2]
    entering = network.quantised(values)
    emulated = emulate(network, entering)
    counted = run_in_qemu(network, entering[:, :samples], CORE)
    assert np.array_equal(counted.outputs, emulated[:, :samples]), "QEMU differs from the emulator"
    reals = run_onnx(run / part.graph, values).mean(axis=0)
    votes = reals.reshape(-1, readout.classes, readout.group).mean(axis=2)
    flash, ram = sizes(source_text(network, NAME), header_text(network, NAME))
    assert counted.instructions is not None
    return Row(
        f"{deployment.system}, 8 bits",
        counted.instructions,
        flash,
        ram,
        float((decide(network, emulated) == labels).mean()),
        float((votes.argmax(axis=1) == labels).mean()),
    )


def sizes(source: str, header: str) -> tuple[int, int]:
    """Flash of the code with its tables, and RAM of one state, in bytes."""
    with scratch_folder("sizes") as folder:
        (folder / f"{NAME}.h").write_text(header)
        (folder / f"{NAME}.c").write_text(f"{source}\n{NAME}_state the_state;\n")
        options = (f"-mcpu={CORE}", "-mthumb", *STANDARD, "-O2", "-c")
        arm_compiler().build([folder / f"{NAME}.c"], folder / "out.o", options, folder)
        tool = Path(arm_compiler().command[0]).with_name("arm-none-eabi-size")
        listed = subprocess.run([tool, folder / "out.o"], capture_output=True, text=True, check=True).stdout
    text, data, bss = (int(number) for number in re.findall(r"\d+", listed.splitlines()[1])[:3])
    return text + data, data + bss


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("firmware", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--samples", type=int, default=20, help="in QEMU")
    options = parser.parse_args()
    print(
        "| Receiver | instructions a step | worst | a sample | flash | RAM | accuracy | in floating point |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print(event(options.firmware, options.samples))
    for run in options.runs:
        print(conventional(run, options.samples))


if __name__ == "__main__":
    main()
