"""The map of memory: what the compiler makes, to the byte."""

import subprocess
from pathlib import Path

import pytest

from nsc_deploy.exporters.c import compilers
from nsc_deploy.exporters.c.compilers import arm_compiler, host_compiler
from nsc_deploy.exporters.c.events import EventCode
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.memory import _deepest, map_memory
from nsc_deploy.graphs.assemble import assemble
from tests.support.c_graphs import ORIGIN, needs_compiler, needs_qemu, random_c_graph
from tests.support.lava import receiver


def codes() -> list[EventCode]:
    networks = [assemble(graph) for graph in (receiver(), *(random_c_graph(seed) for seed in (0, 4, 7)))]
    layouts = [lay_out(lower_to_program(network).program, "net", classes=1) for network in networks]
    return [EventCode(layout, network) for layout, network in zip(layouts, networks, strict=True)]


@needs_compiler
@pytest.mark.parametrize("code", codes())
def test_the_state_is_as_large_as_the_map_says(code: EventCode, tmp_path: Path) -> None:
    (tmp_path / "net.h").write_text(code.header(ORIGIN))
    size = sum(one.bytes for one in code.state)
    main = f'#include "net.h"\nint main(void) {{ return sizeof(net_state) == {size}u ? 0 : 1; }}\n'
    (tmp_path / "main.c").write_text(main)
    host_compiler().build([tmp_path / "main.c"], tmp_path / "program", ("-std=c99",), tmp_path)
    assert subprocess.run([tmp_path / "program"], check=False).returncode == 0


@needs_qemu
@pytest.mark.parametrize("code", codes())
def test_flash_is_what_the_compiler_links(code: EventCode, tmp_path: Path) -> None:
    (tmp_path / "net.h").write_text(code.header(ORIGIN))
    (tmp_path / "net.c").write_text(code.source(ORIGIN))
    options = ("-mcpu=cortex-m4", "-mthumb", "-std=c99", "-ffreestanding", "-O2", "-c")
    arm_compiler().build([tmp_path / "net.c"], tmp_path / "net.o", options, tmp_path)
    told = subprocess.run(
        ["arm-none-eabi-size", tmp_path / "net.o"], capture_output=True, text=True, check=True
    )
    text, data, bss = map(int, told.stdout.splitlines()[1].split()[:3])
    assert (data, bss) == (0, 0)
    found = map_memory(code, "cortex-m4")
    # The map leaves out what aligns pieces; the compiler may take the smallest tables into the code.
    assert found.flash_bytes == pytest.approx(text, rel=0.03, abs=64)
    assert found.ram_bytes > sum(one.bytes for one in code.state)


@needs_qemu
def test_every_layer_has_code_of_its_own() -> None:
    (code, *_) = codes()
    owners = {one.layer for one in map_memory(code, "cortex-m0plus").flash if one.holds == "code"}
    assert owners == {"all layers", *(one.node for one in code.sizes)}


def test_without_the_cross_compiler_the_sums_are_lower_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code, *_) = codes()
    monkeypatch.setenv("PATH", str(tmp_path))
    compilers.arm_compiler.cache_clear()
    try:
        found = map_memory(code, "cortex-m4")
    finally:
        compilers.arm_compiler.cache_clear()
    assert found.compiler is None
    assert found.flash_bytes == sum(table.bytes for table in code.tables)
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
