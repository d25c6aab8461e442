"""The map of memory: what the compiler makes, to the byte."""

import subprocess
from pathlib import Path

import pytest

from nsc_deploy.exporters.c import compilers
from nsc_deploy.exporters.c.compilers import arm_compiler, host_compiler
from nsc_deploy.exporters.c.layout import Layout, lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.memory import _deepest, map_memory
from nsc_deploy.exporters.c.write import header_text, source_text
from nsc_deploy.graphs.assemble import assemble
from tests.support.c_graphs import ORIGIN, needs_compiler, needs_qemu, random_c_graph
from tests.support.lava import receiver


def layouts() -> list[Layout]:
    graphs = [receiver(), *(random_c_graph(seed) for seed in (0, 4, 7))]
    return [lay_out(lower_to_program(assemble(graph)).program, "net", classes=1) for graph in graphs]


@needs_compiler
@pytest.mark.parametrize("layout", layouts())
def test_the_state_is_as_large_as_the_map_says(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "net.h").write_text(header_text(layout, ORIGIN))
    size = sum(layout.state_bytes.values())
    main = f'#include "net.h"\nint main(void) {{ return sizeof(net_state) == {size}u ? 0 : 1; }}\n'
    (tmp_path / "main.c").write_text(main)
    host_compiler().build([tmp_path / "main.c"], tmp_path / "program", ("-std=c99",), tmp_path)
    assert subprocess.run([tmp_path / "program"], check=False).returncode == 0


@needs_qemu
@pytest.mark.parametrize("layout", layouts())
def test_flash_is_what_the_compiler_links(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "net.h").write_text(header_text(layout, ORIGIN))
    (tmp_path / "net.c").write_text(source_text(layout, ORIGIN))
    options = ("-mcpu=cortex-m4", "-mthumb", "-std=c99", "-ffreestanding", "-O2", "-c")
    arm_compiler().build([tmp_path / "net.c"], tmp_path / "net.o", options, tmp_path)
    told = subprocess.run(
        ["arm-none-eabi-size", tmp_path / "net.o"], capture_output=True, text=True, check=True
    )
    text, data, bss = map(int, told.stdout.splitlines()[1].split()[:3])
    assert (data, bss) == (0, 0)
    found = map_memory(layout, "cortex-m4")
    # The map leaves out what aligns pieces; the compiler may take the smallest tables into the code.
    assert found.flash_bytes == pytest.approx(text, rel=0.03, abs=64)
    assert found.ram_bytes > sum(layout.state_bytes.values())


@needs_qemu
def test_every_layer_has_code_of_its_own() -> None:
    (layout, *_) = layouts()
    code = {one.layer for one in map_memory(layout, "cortex-m0plus").flash if one.holds == "code"}
    assert code == {"all layers", *(one.population.name for one in layout.layers)}


def test_without_the_cross_compiler_the_sums_are_lower_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layout, *_) = layouts()
    monkeypatch.setenv("PATH", str(tmp_path))
    compilers.arm_compiler.cache_clear()
    try:
        found = map_memory(layout, "cortex-m4")
    finally:
        compilers.arm_compiler.cache_clear()
    assert found.compiler is None
    assert found.flash_bytes == sum(table.bytes for one in layout.layers for table in one.tables)
    assert "at least" in found.lines()[-1]


def test_the_deepest_chain_of_calls_counts() -> None:
    graph = """
        node: { title: "a" label: "a\\nx.c:1:1\\n8 bytes (static)" }
        node: { title: "b" label: "b\\nx.c:2:1\\n16 bytes (static)" }
        node: { title: "c" label: "c\\nx.c:3:1\\n64 bytes (static)" }
        node: { title: "outside" label: "outside" shape : ellipse }
        edge: { sourcename: "a" targetname: "b" label: "x.c:4:1" }
        edge: { sourcename: "a" targetname: "c" label: "x.c:5:1" }
        edge: { sourcename: "b" targetname: "outside" label: "x.c:6:1" }
    """
    assert _deepest(graph) == 72
