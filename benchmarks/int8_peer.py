"""Dense layers by this tool, by BakeNN and by emlearn, on the same weights, ranges and samples.

pip install bakenn emlearn    (Apache-2.0 and MIT)
python benchmarks/int8_peer.py FIRMWARE

FIRMWARE is a folder of `nsc-deploy export --target c`, of dense layers in ONNX, whose manifest names the
recording that ranges were chosen on. BakeNN gets the same weights and the same recording, once with portable
kernels and once with those it has for a Cortex-M4 (the CMSIS-NN that comes with it takes no factor a row).
QEMU counts the instructions of a step; outputs are those of BakeNN's reference, byte for byte, or this ends.
Of emlearn it is the loadable network of float32, on a Cortex-M4 with its unit for them: its fixed-point layer
has no loops yet (`eml_net_fixedpoint.h`). RAM is state and buffers, without the stack.
"""

import argparse
import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import bakenn
import emlearn
import numpy as np
from bakenn.quantization.ptq import FloatLinear, FloatMLP, quantize_ptq
from emlearn.net import c_generate_net_loadable
from numpy.typing import NDArray

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.code import HERE
from nsc_deploy.exporters.c.compilers import STANDARD, arm_compiler
from nsc_deploy.exporters.c.deployment import read_c_deployment
from nsc_deploy.exporters.c.int8.chain import read_chain
from nsc_deploy.exporters.c.int8.layers import Chain, FloatDense
from nsc_deploy.exporters.c.qemu import Board, QemuRunner, boards, find_board
from nsc_deploy.exporters.c.runners import HostRunner, write_sources
from nsc_deploy.exporters.c.write import Harness, template_text
from nsc_deploy.exporters.inputs import choose_samples
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.readout import decide
from nsc_deploy.io.files import write_text
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.verification.runner import RunTrace

CPU = "cortex-m4"
KINDS = {
    "BakeNN, portable": bakenn.CBackendOptions(),
    "BakeNN, its kernels for Cortex-M4": bakenn.CBackendOptions(kernel_policy=bakenn.KernelPolicy.AUTO),
}


class Kind(NamedTuple):
    """A type of values in C and in numpy, and how many of them a word of 32 bits holds."""

    c: str
    numpy: str
    in_word: int

    def filled(self, values: int) -> int:
        """So many values, and those that fill up the last word."""
        return -(-values // self.in_word) * self.in_word


class Peer:
    """What another tool wrote, in the shape that QEMU's runner takes; so many values enter and leave."""

    name, entry = "peer", "step"
    inputs: int
    outputs: int
    enters: Kind
    leaves: Kind

    def harness(self, template: str, **values: Any) -> str:
        """The main program."""
        sizes = self.enters.filled(self.inputs), self.leaves.filled(self.outputs)
        harness = Harness(self.enters.c, sizes[0], self.leaves.c, sizes[1], "step", False)
        return template_text(template, name="peer", macro="PEER", harness=harness, traced=(), **values)

    def packed(self, entering: NDArray[Any]) -> NDArray[np.uint32]:
        """What enters in words [samples, steps, words]."""
        steps, samples, inputs = entering.shape
        full = np.zeros((samples, steps, self.enters.filled(inputs)), self.enters.numpy)
        full[..., :inputs] = entering.transpose(1, 0, 2)
        return full.view("<u4")

    def trace(
        self, answer: bytes, entering: NDArray[Any], *, timed: bool = False
    ) -> tuple[RunTrace, NDArray[np.uint32]]:
        """What a harness wrote."""
        steps, samples = entering.shape[:2]
        words = self.leaves.filled(self.outputs) // self.leaves.in_word
        rows = np.frombuffer(answer, "<u4").reshape(samples, -1)[:, :-1]
        each = np.ascontiguousarray(rows.reshape(samples, steps, words + timed).transpose(1, 0, 2))
        shown = np.ascontiguousarray(each[..., :words]).view(self.leaves.numpy)[..., : self.outputs]
        return RunTrace(shown), each[..., -1]


@dataclass
class Baked(Peer):
    """What BakeNN wrote."""

    plan: Any
    folder: Path
    inputs: int
    outputs: int
    enters, leaves = Kind("int8_t", "i1", 4), Kind("int16_t", "<i2", 2)

    def header(self, origin: object) -> str:
        """NAME.h: BakeNN's, with what a harness calls."""
        del origin
        return (
            f'#include <stdint.h>\n#include "{self.folder / "bknn_net.h"}"\n#define PEER_OK 0\n'
            "typedef struct { uint8_t arena[BKNN_NET_ARENA_SIZE + 1u] __attribute__((aligned(16)));"
            " int8_t out[BKNN_NET_OUTPUT_SIZE]; } peer_state;\n"
            "int32_t peer_reset(peer_state *state);\n"
            "int32_t peer_step(peer_state *state, const int8_t *values, int16_t *outputs);\n"
        )

    def source(self) -> str:
        """NAME.c: BakeNN's files in one."""
        files = [path for path in sorted(self.folder.rglob("*.c")) if path.name != "peer.c"]
        parts = "".join(f'#include "{path}"\n' for path in files)
        return (
            f'#include "peer.h"\n{parts}'
            "int32_t peer_reset(peer_state *state) { (void)state; return 0; }\n"
            "int32_t peer_step(peer_state *state, const int8_t *values, int16_t *outputs) {\n"
            "    bknn_net_infer(state->arena, values, state->out);\n"
            "    for (uint32_t line = 0; line < BKNN_NET_OUTPUT_SIZE; ++line)"
            " outputs[line] = state->out[line];\n    return 0;\n}\n"
        )

    def entering(self, values: NDArray[Any]) -> NDArray[np.int8]:
        """Inputs as BakeNN's reference quantises them."""
        flat = values.reshape(-1, self.inputs).astype(np.float32)
        one = self.plan.tensors[self.plan.inputs[0]].tensor_type.qparams
        whole = np.floor(np.abs(flat / np.float32(one.scale)) + 0.5) * np.sign(flat) + one.zero_point
        return np.clip(whole, -128, 127).astype(np.int8).reshape(*values.shape[:2], -1)

    def reference(self, entering: NDArray[Any]) -> NDArray[np.int8]:
        """The same by BakeNN in Python."""
        rows = [
            bakenn.run_reference(self.plan, row[None]).reshape(-1)
            for row in entering.reshape(-1, self.inputs)
        ]
        return np.stack(rows).reshape(*entering.shape[:2], -1)


@dataclass
class Emlearned(Peer):
    """What emlearn wrote: its loadable network of float32."""

    text: str
    inputs: int
    outputs: int
    enters = leaves = Kind("float", "<f4", 1)

    def header(self, origin: object) -> str:
        """NAME.h."""
        del origin
        return (
            "#include <stdint.h>\n#define PEER_OK 0\ntypedef struct { uint8_t unused; } peer_state;\n"
            "int32_t peer_reset(peer_state *state);\n"
            "int32_t peer_step(peer_state *state, const float *values, float *outputs);\n"
        )

    def source(self) -> str:
        """NAME.c: emlearn's network; what only other activations call is there for the linker alone."""
        return (
            f"{self.text}\n"
            "float expf(float x) { return x; }\nfloat logf(float x) { return x; }\n"
            "float tanhf(float x) { return x; }\n"
            '#include "peer.h"\n'
            "int32_t peer_reset(peer_state *state) {\n    (void)state;\n"
            "    /* The unit for float32 is off after a reset. */\n"
            "    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;\n"
            '    __asm__ volatile("dsb\\n\\tisb");\n    return 0;\n}\n'
            "int32_t peer_step(peer_state *state, const float *values, float *outputs) {\n    (void)state;\n"
            f"    const EmlError error = eml_net_infer(&net, values, {self.inputs});\n"
            f"    for (uint32_t line = 0; line < {self.outputs}u; ++line) outputs[line] = net_buf2[line];\n"
            "    return error == EmlOk ? 0 : -1;\n}\n"
        )

    def entering(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Inputs as they are."""
        return values.reshape(*values.shape[:2], -1).astype(np.float32)


@dataclass(frozen=True)
class FloatBoard(Board):
    """A board of which code may use the unit for float32."""

    @property
    def options(self) -> tuple[str, ...]:
        """Of the compiler."""
        return (f"-mcpu={CPU}", "-mthumb", *STANDARD, "-O2", *FLOATS)


FLOAT_CPU = "cortex-m4-float"
FLOATS = ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
HEADERS = {
    "stdio.h": "",
    "stdlib.h": "",
    "math.h": '#define INFINITY __builtin_inff()\n#define NAN __builtin_nanf("")\n'
    "float expf(float);\nfloat logf(float);\nfloat tanhf(float);\nfloat fabsf(float);\n",
}
"""What emlearn includes, where there is no C library for a Cortex-M."""


def emlearned(chain: Chain, folder: Path) -> Emlearned:
    layers = dense_layers(chain)
    here = Path(emlearn.__file__).parent
    assert "FIXME: implement" in (here / "eml_net_fixedpoint.h").read_text(), "fixed point is there by now"
    for name, text in HEADERS.items():
        write_text(folder / name, text)
    os.environ["C_INCLUDE_PATH"] = f"{folder}:{here}"
    boards()[FLOAT_CPU] = FloatBoard(
        **{one.name: getattr(find_board(CPU), one.name) for one in fields(Board)}
    )
    text = c_generate_net_loadable(
        ["relu" if one.relu else "identity" for one in layers],
        [one.weight.T for one in layers],
        [one.bias for one in layers],
        prefix="net",
    )
    return Emlearned(text, layers[0].inputs, layers[-1].outputs)


def dense_layers(chain: Chain) -> list[FloatDense]:
    layers = [layer for layer in chain.layers if isinstance(layer, FloatDense)]
    assert len(layers) == len(chain.layers), "dense layers alone"
    return layers


def baked(chain: Chain, calibration: NDArray[Any], options: Any, folder: Path) -> Baked:
    layers = dense_layers(chain)
    network = FloatMLP(
        tuple(FloatLinear(one.weight, one.bias, one.relu, f"l{at}") for at, one in enumerate(layers)), "net"
    )
    graph = quantize_ptq(network, calibration.reshape(-1, layers[0].inputs).astype(np.float32))
    made = bakenn.compile(graph, folder, model_name="net", backend_options=options, target=CPU)
    return Baked(made.plan, folder, layers[0].inputs, layers[-1].outputs)


def counted(code: Any, source: str, values: NDArray[Any], cpu: str = CPU) -> tuple[Any, str]:
    """The run on QEMU, and flash of the code with its tables and RAM of buffers and state, as cells."""
    with ExitStack() as closing:
        settings = RunSettings(layers=False, cpu=cpu, closing=closing)
        runner = QemuRunner(code, source, settings)
        run = runner.run(values)
        folder = closing.enter_context(scratch_folder("size"))
        write_sources(folder, code, source, "board.c.jinja", board=runner.board)
        write_text(folder / "state.c", f'#include "{code.name}.h"\n{code.name}_state state;\n')
        options = (*runner.board.options, "-c")
        told = []
        for name in (code.name, "state"):
            arm_compiler().build([folder / f"{name}.c"], folder / f"{name}.o", options, folder)
            told.append(_size(folder / f"{name}.o"))
    (text, data, zeroed), (_, _, state) = told
    return run, f"{text + data:,} | {data + zeroed + state:,}"


def _size(file: Path) -> list[int]:
    tool = Path(arm_compiler().command[0]).with_name("arm-none-eabi-size")
    told = subprocess.run([tool, file], capture_output=True, text=True, check=True).stdout
    return [int(one) for one in told.splitlines()[1].split()[:3]]


def on_host(code: Any, values: NDArray[Any]) -> NDArray[Any]:
    with ExitStack() as closing:
        return HostRunner(code, code.source(), RunSettings(closing=closing)).run(values).output


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("firmware", type=Path)
    parser.add_argument("--samples", type=int, default=4, help="in QEMU")
    options = parser.parse_args()
    found = read_c_deployment(options.firmware)
    told, network = found.manifest.calibration, found.code.network
    calibration = read_recording(Path(told.path or "")).first(told.samples)
    chosen = choose_samples(found.opened(), None, None)
    readout = (found.manifest.classes or 1, found.manifest.group or 1)
    assert chosen.labels is not None
    some = chosen.values[:, : options.samples]
    ours = found.code.emulator(RunSettings()).run(chosen.values).output
    run, bytes_ = counted(found.code, found.code.source(HERE), some)
    assert np.array_equal(run.output, ours[:, : options.samples])
    print("| Dense layers | instructions a step | flash | RAM | accuracy |\n|---|---|---|---|---|")
    accuracy = (decide(ours, *readout) == chosen.labels).mean()
    print(f"| nsc-deploy | {run.instructions.mean():,.0f} | {bytes_} | {accuracy:.2%} |")
    chain = read_chain(network, options.firmware)
    with scratch_folder("bakenn") as folder:
        code = baked(chain, calibration.values, KINDS["BakeNN, portable"], folder)
        expected = on_host(code, chosen.values)
        first = code.reference(code.entering(some[:, :1]))
    assert np.array_equal(first, expected[:, :1]), "BakeNN's reference differs"
    accuracy = (decide(expected.astype(np.float64), *readout) == chosen.labels).mean()
    for name, kind in KINDS.items():
        with scratch_folder("bakenn") as folder:
            code = baked(chain, calibration.values, kind, folder)
            os.environ["C_INCLUDE_PATH"] = ":".join({str(one.parent) for one in folder.rglob("*.h")})
            run, bytes_ = counted(code, code.source(), some)
        assert np.array_equal(run.output, expected[:, : options.samples]), "QEMU differs"
        print(f"| {name} | {run.instructions.mean():,.0f} | {bytes_} | {accuracy:.2%} |")
    with scratch_folder("emlearn") as folder:
        floats = emlearned(chain, folder)
        run, bytes_ = counted(floats, floats.source(), some, FLOAT_CPU)
    exact = floats.entering(chosen.values).astype(np.float64)
    for layer in dense_layers(chain):
        exact = layer.run(exact)
    assert np.allclose(run.output, exact[:, : options.samples], atol=1e-3), "emlearn computes something else"
    accuracy = (decide(exact, *readout) == chosen.labels).mean()
    name = f"emlearn {version('emlearn')}, float32"
    print(f"| {name} | {run.instructions.mean():,.0f} | {bytes_} | {accuracy:.2%} |")


if __name__ == "__main__":
    main()
