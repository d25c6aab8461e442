"""The code itself: bad input is defined, both ways in are one, and names cannot leave a comment."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.exporters.c.compilers import STANDARD, STRICT, host_compiler
from nsc_deploy.exporters.c.emulator import emulate
from nsc_deploy.exporters.c.layout import Layout, identifier, lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.write import comment, example_text, header_text, packed_events, source_text
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from tests.support.c_graphs import ORIGIN, SANITISED, needs_compiler, random_c_graph
from tests.support.lava import receiver

STRANGE = "*/ int main(void) { return 7; } /* ?? \\"


@pytest.fixture(scope="module")
def layout() -> Layout:
    return lay_out(lower_to_program(assemble(receiver())).program, "net", classes=6, group=2)


def run_main(layout: Layout, main: str, folder: Path) -> int:
    """Compile the code with a main program of one's own and run it."""
    (folder / "net.h").write_text(header_text(layout, ORIGIN))
    (folder / "net.c").write_text(source_text(layout, ORIGIN))
    (folder / "main.c").write_text(main)
    host_compiler().build([folder / "net.c", folder / "main.c"], folder / "program", SANITISED, folder)
    return subprocess.run([folder / "program"], check=False).returncode


@needs_compiler
def test_bad_input_is_told_and_changes_nothing(layout: Layout, tmp_path: Path) -> None:
    main = """
        #include <string.h>
        #include "net.h"
        static net_state state;
        static net_state before;
        static uint32_t events[NET_INPUT_WORDS];
        int main(void)
        {
            const net_line good[2] = {0u, 1u};
            const net_line bad[2] = {0u, (net_line)NET_INPUTS};
            uint32_t spikes[NET_OUTPUT_WORDS];
            if (net_reset(0) != NET_NULL) { return 1; }
            if (net_step(&state, events, spikes) != NET_NOT_RESET) { return 2; }
            if (net_decide(&state) != NET_NOT_RESET) { return 3; }
            if (net_reset(&state) != NET_OK) { return 4; }
            before = state;
            if (net_step(0, events, spikes) != NET_NULL) { return 5; }
            if (net_step(&state, 0, spikes) != NET_NULL) { return 6; }
            if (net_step_list(&state, 0, 1u, spikes) != NET_NULL) { return 7; }
            if (net_step_list(&state, bad, 2u, spikes) != NET_BAD_EVENT) { return 8; }
            if (net_decide(0) != NET_NULL) { return 9; }
            if (memcmp(&state, &before, sizeof state) != 0) { return 10; }
            if (net_step_list(&state, 0, 0u, 0) != NET_OK) { return 11; }
            if (net_step_list(&state, good, 2u, spikes) != NET_OK) { return 12; }
            if (net_step(&state, events, 0) != NET_OK) { return 13; }
            return 0;
        }
    """
    assert run_main(layout, main, tmp_path) == 0


@needs_compiler
def test_a_list_is_a_bit_map_and_bits_behind_the_last_line_count_for_nothing(
    layout: Layout, tmp_path: Path
) -> None:
    main = """
        #include <string.h>
        #include "net.h"
        static net_state one;
        static net_state two;
        int main(void)
        {
            net_line lines[5] = {3u, 0u, 23u, 3u, 7u};
            uint32_t events[NET_INPUT_WORDS] = {0xFF800089u};
            uint32_t step;
            net_reset(&one);
            net_reset(&two);
            for (step = 0u; step < 9u; ++step) {
                uint32_t first[NET_OUTPUT_WORDS];
                uint32_t second[NET_OUTPUT_WORDS];
                net_step(&one, events, first);
                net_step_list(&two, lines, 5u, second);
                if (memcmp(first, second, sizeof first) != 0) { return 1; }
            }
            return memcmp(&one, &two, sizeof one) == 0 ? 0 : 2;
        }
    """
    assert layout.program.inputs == 24
    assert run_main(layout, main, tmp_path) == 0


@needs_compiler
def test_the_example_answers_as_the_emulator(layout: Layout, tmp_path: Path) -> None:
    events = (np.random.default_rng(0).random((20, layout.program.inputs)) < 0.4).astype(np.uint8)
    assert emulate(layout.program, events[:, None]).output.any()
    text = example_text(layout, ORIGIN, events, "random events")
    assert run_main(layout, text, tmp_path) == 0
    wrong = text.replace("0x", "0x1", 1)
    assert wrong != text


@needs_compiler
def test_names_of_a_graph_cannot_leave_a_comment(tmp_path: Path) -> None:
    build = GraphBuilder(0.001)
    build.input(3, Signal.EVENTS)
    build.linear("w", np.ones((2, 3)))
    build.threshold(STRANGE, 0.5, 2)
    build.output(2)
    layout = lay_out(lower_to_program(assemble(build.build())).program, "net")
    assert run_main(layout, '#include "net.h"\nint main(void) { return 0; }\n', tmp_path) == 0


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="no cppcheck here")
@pytest.mark.slow
def test_misra_rules_that_are_not_followed_are_those_of_the_page(layout: Layout, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "microcontrollers.md").read_text(encoding="utf-8")
    table = page.split("## MISRA", 1)[1]
    listed = set(re.findall(r"\d+\.\d+", " ".join(re.findall(r"^\| ([\d., ]+) \|", table, re.MULTILINE))))
    found: set[str] = set()
    graphs = [random_c_graph(seed) for seed in (5, 10)]
    for one in (layout, *(lay_out(lower_to_program(assemble(graph)).program, "net") for graph in graphs)):
        (tmp_path / "net.h").write_text(header_text(one, ORIGIN))
        (tmp_path / "net.c").write_text(source_text(one, ORIGIN))
        told = subprocess.run(
            ["cppcheck", "--addon=misra", "--std=c99", "--suppress=missingIncludeSystem", "net.c"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        found |= set(re.findall(r"misra-c2012-(\d+\.\d+)", told))
        assert ": error:" not in told
    assert found
    assert found <= listed


@pytest.mark.parametrize("text", [STRANGE, "a\nb", "ä", "x" * 500, "/*/", "*/*/"])
def test_a_comment_stays_one(text: str) -> None:
    told = comment(text)
    assert "*/" not in told
    assert "/*" not in told
    assert told.isascii()
    assert told.isprintable()
    assert len(told) <= 80


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("receiver", "receiver"),
        ("My Net-2.nir", "my_net_2_nir"),
        ("2x", "n_2x"),
        ("", "network"),
        ("main", "n_main"),
        ("l0_hidden", "n_l0_hidden"),
        ("L12", "n_l12"),
        ("lif2", "lif2"),
        ("comparators", "n_comparators"),
        ("stdint", "n_stdint"),
    ],
)
def test_identifiers(text: str, name: str) -> None:
    assert identifier(text) == name


@needs_compiler
def test_a_network_called_as_one_of_its_layers_compiles(layout: Layout, tmp_path: Path) -> None:
    name = identifier(layout.layers[0].name)
    named = lay_out(layout.program, name, classes=6, group=2)
    (tmp_path / f"{name}.h").write_text(header_text(named, ORIGIN))
    (tmp_path / f"{name}.c").write_text(source_text(named, ORIGIN))
    host_compiler().build([tmp_path / f"{name}.c"], tmp_path / "o", [*STANDARD, *STRICT, "-c"], tmp_path)


def test_bit_maps_start_with_the_lowest_bit() -> None:
    events = np.zeros((1, 40), np.uint8)
    events[0, [0, 33]] = 1
    assert packed_events(events).tolist() == [[1, 2]]


def test_the_code_needs_nothing_but_stdint(layout: Layout) -> None:
    text = header_text(layout, ORIGIN) + source_text(layout, ORIGIN)
    assert {line for line in text.splitlines() if line.startswith("#include")} == {
        "#include <stdint.h>",
        '#include "net.h"',
    }
    for word in ("malloc", "float ", "double ", "printf"):
        assert word not in text
