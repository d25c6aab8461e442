"""Conventional networks in C: the same bits as their emulator, here and on a Cortex-M, with their memory."""

import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.code import HERE
from nsc_deploy.exporters.c.compilers import STRICT, Compiler, arm_compiler, clang, host_compiler
from nsc_deploy.exporters.c.int8.code import Int8Code
from nsc_deploy.exporters.c.memory import map_memory
from nsc_deploy.exporters.c.qemu import QemuRunner
from nsc_deploy.exporters.c.runners import HostRunner
from nsc_deploy.exporters.c.trace import count_cycles
from tests.support.c_graphs import ORIGIN, SANITISED, needs_compiler, needs_qemu
from tests.support.int8 import FLOAT_KINDS, INTEGER_KINDS, KINDS, code, reals


def compiled(made: Int8Code, values: np.ndarray, options: tuple[str, ...], by: Compiler) -> np.ndarray:
    with ExitStack() as closing:
        settings = RunSettings(closing=closing)
        return HostRunner(made, made.source(HERE), settings, options, by).run(values).output


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_code_is_the_emulator(kind: str, tmp_path: Path) -> None:
    made = code(tmp_path, kind)
    values = 4 * reals(kind, 3)  # loud: everything is cut off somewhere
    expected = made.emulate(values).output
    np.testing.assert_array_equal(compiled(made, values, SANITISED, host_compiler()), expected)
    assert len(np.unique(expected)) > (30 if kind in FLOAT_KINDS else 9)


@pytest.mark.skipif(clang() is None, reason="no clang here")
@pytest.mark.parametrize("kind", KINDS)
def test_clang_finds_nothing_to_say(kind: str, tmp_path: Path) -> None:
    made, values, other = code(tmp_path, kind), reals(kind, 3), clang()
    assert other is not None
    found = compiled(made, values, ("-std=c99", "-O1", *STRICT), other)
    np.testing.assert_array_equal(found, made.emulate(values).output)


@needs_qemu
@pytest.mark.parametrize(
    ("kind", "cpu"),
    [(kind, "m4") for kind in KINDS] + [(kind, "m0") for kind in ("gru", "image", *INTEGER_KINDS)],
)
def test_a_cortex_m_computes_the_same_with_and_without_its_lanes(kind: str, cpu: str, tmp_path: Path) -> None:
    made, values = code(tmp_path, kind), reals(kind, 4, 2)
    with ExitStack() as closing:
        run = QemuRunner(made, made.source(HERE), RunSettings(cpu=cpu, closing=closing)).run(values)
    np.testing.assert_array_equal(run.output, made.emulate(values).output)
    assert run.instructions is not None
    assert run.instructions.shape == made.entering(values).shape[:2]
    assert run.instructions.min() > 500


@needs_qemu
@pytest.mark.parametrize("kind", ["gru", "separable", "hard_gru"])
def test_cycles_are_bounded_layer_by_layer(kind: str, tmp_path: Path) -> None:
    made, values = code(tmp_path, kind), reals(kind, 4, 2)
    with ExitStack() as closing:
        runner = QemuRunner(made, made.source(HERE), RunSettings(cpu="m4", closing=closing))
        instructions = runner.run(values).instructions
        assert instructions is not None
        found = count_cycles(runner, values, instructions)
    assert (found.low < found.high).all()
    # A few instructions of the harness around a call are in the count of the timer alone.
    assert (found.low > instructions - 20).all()
    np.testing.assert_array_equal(sum(found.functions.values()), found.high)
    layers = {made.layer_of(function) for function in found.functions}
    assert layers == {"all layers", *(one.node for one in made.sizes)}


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_as_large_as_the_map_says(kind: str, tmp_path: Path) -> None:
    made = code(tmp_path, kind)
    (tmp_path / "net.h").write_text(made.header(HERE))
    size = sum(one.bytes for one in made.state)
    main = f'#include "net.h"\nint main(void) {{ return sizeof(net_state) == {size}u ? 0 : 1; }}\n'
    (tmp_path / "main.c").write_text(main)
    host_compiler().build([tmp_path / "main.c"], tmp_path / "program", ("-std=c99",), tmp_path)
    assert subprocess.run([tmp_path / "program"], check=False).returncode == 0


@needs_qemu
@pytest.mark.parametrize("kind", KINDS)
def test_flash_is_what_the_compiler_links(kind: str, tmp_path: Path) -> None:
    made = code(tmp_path, kind)
    (tmp_path / "net.h").write_text(made.header(HERE))
    (tmp_path / "net.c").write_text(made.source(HERE))
    options = ("-mcpu=cortex-m4", "-mthumb", "-std=c99", "-ffreestanding", "-O2", "-c")
    arm_compiler().build([tmp_path / "net.c"], tmp_path / "net.o", options, tmp_path)
    told = subprocess.run(
        ["arm-none-eabi-size", tmp_path / "net.o"], capture_output=True, text=True, check=True
    )
    text, data, bss = map(int, told.stdout.splitlines()[1].split()[:3])
    assert (data, bss) == (0, 0)
    assert map_memory(made, "cortex-m4").flash_bytes == pytest.approx(text, rel=0.03, abs=192)


@needs_compiler
@pytest.mark.parametrize("kind", KINDS)
def test_the_example_answers_as_the_emulator(kind: str, tmp_path: Path) -> None:
    made = code(tmp_path, kind)
    (tmp_path / "net.h").write_text(made.header(HERE))
    (tmp_path / "net.c").write_text(made.source(HERE))
    (tmp_path / "main.c").write_text(made.example(HERE, reals(kind, 5, 1), "a sample"))
    sources = [tmp_path / "net.c", tmp_path / "main.c"]
    host_compiler().build(sources, tmp_path / "example", ("-std=c99", *STRICT), tmp_path)
    assert subprocess.run([tmp_path / "example"], check=False).returncode == 0


@needs_compiler
def test_bad_input_is_told_and_changes_nothing(tmp_path: Path) -> None:
    made = code(tmp_path, "gru")
    (tmp_path / "net.h").write_text(made.header(ORIGIN))
    (tmp_path / "net.c").write_text(made.source(ORIGIN))
    (tmp_path / "main.c").write_text("""
#include <string.h>
#include "net.h"
static net_state state, before;
int main(void)
{
    static const int8_t values[NET_INPUTS] = {0};
    int16_t outputs[NET_OUTPUTS];
    if (net_reset(0) != NET_NULL || net_step(0, values, outputs) != NET_NULL || net_decide(0) != NET_NULL) {
        return 1;
    }
    if (net_step(&state, values, outputs) != NET_NOT_RESET || net_decide(&state) != NET_NOT_RESET) {
        return 2;
    }
    if (net_reset(&state) != NET_OK) {
        return 3;
    }
    before = state;
    if (net_step(&state, 0, outputs) != NET_NULL || net_step(&state, values, 0) != NET_NULL) {
        return 4;
    }
    return memcmp(&state, &before, sizeof state) == 0 ? 0 : 5;
}
""")
    sources = [tmp_path / "net.c", tmp_path / "main.c"]
    host_compiler().build(sources, tmp_path / "program", ("-std=c99",), tmp_path)
    assert subprocess.run([tmp_path / "program"], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="no cppcheck here")
@pytest.mark.parametrize("kind", KINDS)
def test_misra_rules_that_are_not_followed_are_those_of_the_page(kind: str, tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs/microcontrollers.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\d., ]+) \| ", page.partition("## MISRA")[2], re.MULTILINE)
    listed = {rule.strip() for row in rows for rule in row.split(",")}
    made = code(tmp_path, kind)
    (tmp_path / "net.h").write_text(made.header(HERE))
    (tmp_path / "net.c").write_text(made.source(HERE))
    command = ["cppcheck", "--addon=misra", "--std=c99", "--enable=style", "--inline-suppr", "-q", "net.c"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stderr
    broken = set(re.findall(r"misra-c2012-([\d.]+)", said))
    assert broken <= listed, said
    assert "error:" not in re.sub(r".*misra.*", "", said)
