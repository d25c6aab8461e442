"""`nsc-deploy check` on chips, and the files that describe them."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import ConfigError, DataError, ExportError
from nsc_deploy.exporters.base import ExportRequest, Target
from nsc_deploy.exporters.chips.chip import Figure, bundled_chip, parts, read_chip
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.network import Signal
from tests.support.chips import chain, convolution
from tests.support.lava import receiver

CHIPS = Path(__file__).parents[3] / "nsc_deploy" / "exporters" / "chips"
NAMES = ("loihi1", "loihi2", "xylo-audio2", "speck")


def nsc(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nsc_deploy.cli.app import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_of_a_chip_has_a_source_and_a_place(name: str) -> None:
    chip = bundled_chip(name)
    assert chip.name == name
    found = dict(parts(chip))
    figures = [part for part in found.values() if isinstance(part, Figure)]
    assert len(figures) >= 6
    for path, part in found.items():
        if part.stated:
            assert part.source in chip.sources, path
            assert part.place, path
        else:
            assert part.note, path
    assert {part.source for part in found.values()} - {""} == set(chip.sources)


@pytest.mark.parametrize("name", NAMES)
def test_chips_are_targets_that_write_nothing(name: str) -> None:
    target = load_target(name)
    assert isinstance(target, Target)
    request = ExportRequest(chain(1, 1), Path("graph.nir"), Path("out"))
    with pytest.raises(ExportError, match="can be checked for, not exported to"):
        target.export(request)
    with pytest.raises(DataError, match="to which nothing is exported"):
        target.open(Path("out"))
    assert "published limits" in target.summary


def edited(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = (CHIPS / "loihi1.toml").read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = tmp_path / "my-chip.toml"
    path.write_text(text)
    return path


WRONG = {
    "unknown field": ("neurons_per_core = {", "neurons_a_core = {", "layout"),
    "negative figure": ("value = 1024", "value = -1", "neurons_per_core.value"),
    "figure without a source": (
        '{ value = 1024, source = "davies2018", place',
        "{ value = 1024, place",
        "source",
    ),
    "source that is not listed": (
        '{ value = 1024, source = "davies2018"',
        '{ value = 1024, source = "me"',
        "'me'",
    ),
    "no figure and no word": (
        'axons_in = { value = 4096, source = "davies2018", place = "p. 89, constraint 4" }',
        "axons_in = {}",
        "needs a note",
    ),
    "unknown node": (
        "[nodes]\n",
        '[nodes]\nLSTM = { status = "native", becomes = "x", source = "lava", place = "y" }\n',
        "LSTM",
    ),
    "unknown layout": ('kind = "many-cores"', 'kind = "one-big-core"', "layout"),
    "no bits of a fraction": ('form = "fraction", bits = 12', 'form = "fraction"', "a fraction has bits"),
    "no TOML": ("[layout]", "[layout", "TOML"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_description_with_a_fault_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    before, after, named = WRONG[fault]
    with pytest.raises(ConfigError, match=named) as caught:
        read_chip(edited(tmp_path, (before, after)))
    assert "my-chip.toml" in caught.value.message


def test_a_chip_of_the_user_s_own(tmp_path: Path) -> None:
    path = edited(tmp_path, ('name = "loihi1"', 'name = "my-chip"'), ("value = 1024", "value = 2"))
    target = load_target(str(path))
    answer = target.check(chain(1, 3))
    assert answer.placement is not None
    assert len(answer.placement.cores) == 2
    graph = tmp_path / "g.nir"
    write_network(graph, chain(1, 3))
    done = nsc("check", graph, "--target", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["target"] == "my-chip"
    missing = nsc("check", graph, "--target", tmp_path / "none.toml")
    assert missing.returncode == 2
    assert "none.toml" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_the_receiver_fits_loihi_and_the_table_fits_eighty_columns(tmp_path: Path) -> None:
    graph = tmp_path / "receiver.nir"
    write_network(graph, receiver())
    done = nsc("check", graph, "--target", "loihi1", "--details")
    assert done.returncode == 0, done.stderr
    assert "fits loihi1" in done.stdout.splitlines()[:4]
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert "delays of synapses" in done.stdout
    counted = nsc("check", graph, "--target", "lava")
    assert "of them relays" in counted.stdout
    assert re.search(r"delay steps +2 +62 +3.2", counted.stdout)
    assert re.search(r" 33,554,432 +0.0", counted.stdout)


def test_each_core_says_what_it_uses_of_which_limit(tmp_path: Path) -> None:
    graph = tmp_path / "receiver.nir"
    write_network(graph, receiver())
    done = nsc("check", graph, "--target", "loihi1", "--details")
    assert re.search(r"of 1,024, %\s+of 4,096, %\s+of 4,096, %\s+of 131,072, %", done.stdout)
    build = GraphBuilder(1e-3)
    build.input(30, Signal.EVENTS)
    for layer in range(9):
        build.linear(f"w{layer}", np.ones((30, 30)))
        build.integrate_and_fire(f"n{layer}", 1.0, 30)
    build.output(30)
    write_network(graph, build.build())
    done = nsc("check", graph, "--target", "speck", "--reset", "zero", "--details")
    # Its cores differ in two of three pools, so each line has limits of its own.
    assert re.search(r"used, limit, % +used, limit, % +of 1,024, %", done.stdout)
    lines = re.findall(r"960 +30 +0\s+of [\d,]+ +of [\d,]+ +0\.0 %\s+\d\.\d % +\d\.\d %", done.stdout)
    assert len(lines) == 9
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_cores_are_told_where_some_neurons_find_no_place(tmp_path: Path) -> None:
    graph = tmp_path / "wide.nir"
    build = GraphBuilder(1e-3)
    build.input(5000, Signal.EVENTS)
    build.linear("w1", np.ones((10, 5000)))
    build.lif("wide", 0.5, 0.5, 10)
    build.linear("w2", np.ones((20, 10)))
    build.lif("narrow", 0.5, 0.5, 20)
    build.output(20)
    write_network(graph, build.build())
    done = nsc("check", graph, "--target", "loihi1", "--details")
    assert done.returncode == 1
    assert re.search(r"cores +at least 1 ", done.stdout)
    assert "Not every neuron found a place; these did:" in done.stdout
    assert re.search(r"0 +narrow 0-19 ", done.stdout)
    answer = json.loads(nsc("check", graph, "--target", "loihi1", "--json").stdout)
    assert answer["placement"] is None
    assert [share["population"] for core in answer["partial"] for share in core["shares"]] == ["narrow"]


def test_a_pool_that_is_not_there_is_over_and_channels_are_counted(tmp_path: Path) -> None:
    graph = tmp_path / "delays.nir"
    build = GraphBuilder(1e-3)
    build.input(1100, Signal.EVENTS)
    build.delay("late", 2, 1100)
    build.linear("w", np.ones((2, 1100)))
    build.lif("lif", 0.5, 0.5, 2)
    build.output(2)
    write_network(graph, build.build())
    done = nsc("check", graph, "--target", "speck")
    assert done.returncode == 1
    assert re.search(r"delay steps +2 +0 +over", done.stdout)
    assert "has 1,100 input channels; a core takes 1,024" in done.stdout


def test_what_does_not_fit_ends_with_exit_code_1_and_the_way_out(tmp_path: Path) -> None:
    graph = tmp_path / "conv.nir"
    write_network(graph, convolution(stride=3))
    done = nsc("check", graph, "--target", "speck")
    assert done.returncode == 1
    assert "stride" in done.stdout
    assert "Use a stride of 2." in done.stdout
    assert "does not fit speck: 1 rule broken" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    answer = json.loads(nsc("check", graph, "--target", "speck", "--json").stdout)
    assert not answer["accepted"]
    (breach,) = answer["breaches"]
    assert (breach["rule"], breach["used"], breach["limit"]) == ("stride", 3, 2)
    assert {pool["pool"] for pool in answer["placement"]["cores"][0]["pools"]} == {
        "kernel entries",
        "neuron entries",
        "biases",
    }
    limits = tomllib.loads((CHIPS / "speck.toml").read_text())["layout"]
    assert answer["limits"]["layout.channels"]["value"] == limits["channels"]["value"]
    assert answer["limits"]["layout.channels"]["source"] in answer["sources"]


def test_bits_belong_to_chips(tmp_path: Path) -> None:
    graph = tmp_path / "g.nir"
    write_network(graph, chain(1, 1))
    assert nsc("check", graph, "--target", "loihi2", "--bits", 9).returncode == 1
    refused = nsc("check", graph, "--target", "lava", "--bits", 4)
    assert refused.returncode == 2
    assert "export" in refused.stderr


def test_an_export_to_a_chip_says_the_way_out(tmp_path: Path) -> None:
    graph = tmp_path / "g.nir"
    write_network(graph, chain(1, 1))
    done = nsc("export", graph, "--target", "loihi2", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "not exported to" in done.stderr
    assert "Export to lava" in done.stderr
    assert not (tmp_path / "out").exists()
