"""The report in terminals of different widths."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from nsc_deploy.energy import compare, estimate
from nsc_deploy.energy.output.terminal import print_comparison, print_headlines, print_report
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.quantity import Quantity
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import (
    DT,
    dense_graph,
    dense_run,
    event_run,
    events,
    reals,
    spiking_graph,
    weights,
)

WIDE = 400


def printed(report: Report, width: int) -> list[str]:
    text = StringIO()
    print_report(report, Console(file=text, width=width))
    return text.getvalue().splitlines()


def with_every_kind(report: Report) -> Report:
    """A part whose layers count ACs, MACs, updates, spikes and others at once: the widest table."""
    event, *others = report.systems
    first, front, *rest = event.parts
    compare, *behind = front.layers
    acs = {"acs": 1_234_567.0}
    both = compare.model_copy(update={"counts": compare.counts.model_copy(update=acs)})
    counts = front.counts.model_copy(update=acs)
    front = front.model_copy(update={"layers": (both, *behind), "counts": counts})
    event = event.model_copy(update={"parts": (first, front, *rest)})
    return report.model_copy(update={"systems": (event, *others)})


@pytest.mark.parametrize("profile", ["horowitz-45nm", "loihi"])
@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_figure_is_cut_off(profile: str, width: int, tmp_path: Path) -> None:
    """Rich cuts a table that is too wide at the edge, and says nothing."""
    runs = [event_run(tmp_path / "event", scale=60), dense_run(tmp_path / "fc")]
    report = with_every_kind(estimate(runs, profile=profile).report)
    whole = set(" ".join(printed(report, WIDE)).split())
    at_the_edge = [line.split() for line in printed(report, width) if len(line.rstrip()) == width]
    cut = [words[-1] for words in at_the_edge if words and not set(words[-1]) <= {"─"}]
    assert [word for word in cut if word not in whole] == []


def test_brackets_in_names_are_no_markup(tmp_path: Path) -> None:
    event, dense = (make(tmp_path / f"{name}[red]") for name, make in (("a", event_run), ("b", dense_run)))
    for run in (event, dense):  # of one name, so that the labels tell the folders
        stated = json.loads((run / "deployment.json").read_text()) | {"system": "fc[/x]", "receiver": None}
        (run / "deployment.json").write_text(json.dumps(stated))
    report = estimate([event, dense]).report
    told = {"estimated": ("all of c[/y]",), "options": {"d[/z]": "e"}, "poster_note": "of f[/w]"}
    text = "\n".join(printed(report.model_copy(update=told), WIDE))
    assert "\\[" not in text
    for name in ("fc[/x] in a[red]", "c[/y]", "d[/z] e", "f[/w]"):
        assert name in text
    comparison = compare(event, dense)
    shown = StringIO()
    print_comparison(comparison.model_copy(update={"profile": "g[/v]"}), Console(file=shown, width=WIDE))
    assert "g[/v]" in shown.getvalue()


def test_the_first_block_fits_one_screen_and_cuts_nothing_off(tmp_path: Path) -> None:
    runs = [event_run(tmp_path / "event", scale=60), dense_run(tmp_path / "fc"), dense_run(tmp_path / "fc2")]
    report = estimate(runs, profile="horowitz-45nm", target="loihi1").report
    text = StringIO()
    print_headlines(report, Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert len(lines) <= 24
    # Only a reason, which --details prints whole, may be shortened.
    assert all("…" not in line for line in lines if not line.startswith("*"))
    headline = report.systems[0].headline
    busiest = headline[Quantity.SYNOPS_PER_STEP]
    wanted = {
        "SynOps, worst": numbers.count(headline[Quantity.SYNOPS_PER_INFERENCE].worst or 0),
        "Busiest step": numbers.count(busiest.worst or 0),
        "sample, step": f"{busiest.sample}, {busiest.step}",
        "Accuracy": "96.2 %",
        "Latency": "14 steps, 420 ms",
        "Fits": "loihi1: yes",
    }
    for name, figure in wanted.items():
        (line,) = [line for line in lines if line.strip().startswith(name)]
        assert figure in line


def compared(folder: Path, before: GraphBuilder, after: GraphBuilder) -> dict[str, list[list[str]]]:
    """What a terminal of 80 characters shows of each layer that changed, a list of words a figure."""
    paths = [folder / "before.nir", folder / "after.nir"]
    for path, builder in zip(paths, (before, after), strict=True):
        builder.lif("lif", 0.9, 0.3, 2)
        builder.output(2, classes=2, group=1)
        write_network(path, builder.build())
    inputs = events(6)
    inputs.values[:, :, 5] = 0
    write_recording(folder / "inputs.npz", inputs)
    text = StringIO()
    print_comparison(compare(*paths, inputs=folder / "inputs.npz"), Console(file=text, width=80))
    shown = text.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    found: dict[str, list[list[str]]] = {}
    for line in shown.split("─ \n")[1].splitlines():
        words = line.split()
        if not words:
            break
        if line[1:2].strip():
            found[words.pop(0).removeprefix("after/")] = rows = []
        rows.append(words)
    return found


def test_a_layer_that_lost_only_what_was_silent_says_what_it_lost(tmp_path: Path) -> None:
    """The last input never fires: its synapses cost no operation, and all the same they are gone."""
    before, after = GraphBuilder(DT), GraphBuilder(DT)
    whole = weights(2, 6)
    pruned = whole.copy()
    pruned[:, 5] = 0
    for builder, matrix in ((before, whole), (after, pruned)):
        builder.input(6, Signal.EVENTS)
        builder.linear("linear", matrix)
    row = ["synapses", "12", "10", "-16.7"]
    assert compared(tmp_path, before, after) == {"linear": [row], "Total": [row]}


def test_a_layer_of_another_kind_says_which(tmp_path: Path) -> None:
    before, after = GraphBuilder(DT), GraphBuilder(DT)
    for builder in (before, after):
        builder.input(6, Signal.EVENTS)
    before.linear("weights", weights(2, 6))
    after.affine("weights", weights(2, 6), weights(2))
    found = compared(tmp_path, before, after)["weights"]
    assert found[0][:3] == ["Linear", "->", "Affine"]


def test_what_an_onnx_graph_does_not_tell_is_a_dash_and_not_nothing(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "before.nir", [6, 4], Signal.REAL)
    dense_graph(tmp_path / "after.onnx", [6, 4])
    write_recording(tmp_path / "in.npz", reals(6))
    found = compare(tmp_path / "before.nir", tmp_path / "after.onnx", inputs=tmp_path / "in.npz")
    neurons = found.systems[0].total["neurons"]
    assert (neurons.before, neurons.after, neurons.difference, neurons.growth) == (4, None, None, None)
    assert found.rows()[-1]["neurons_after"] == 0  # of a layer that is not there any more
    assert {row["neurons_after"] for row in found.rows() if row["status"] == "added"} == {None}
    text = StringIO()
    print_comparison(found, Console(file=text, width=100))
    (total,) = [line.split() for line in text.getvalue().split("Total")[1].splitlines() if "neurons" in line]
    assert total == ["neurons", "4", numbers.MISSING]


def test_a_silent_recording_takes_nothing_and_says_so(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "net.nir", [6, 4], Signal.EVENTS)
    write_recording(tmp_path / "in.npz", events(6, rate=0.0))
    report = estimate(tmp_path / "net.nir", inputs=tmp_path / "in.npz").report
    text = StringIO()
    print_headlines(report, Console(file=text, width=80))
    rows = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert {"SynOps, mean 0", "SynOps, worst 0", "Busiest step 0", "SynOps/s, worst 0"} <= set(rows)


def test_columns_without_room_are_named(tmp_path: Path) -> None:
    report = estimate(event_run(tmp_path / "event", scale=60)).report
    narrow, wide = (" ".join(printed(report, width)) for width in (80, WIDE))
    assert "No room for: Primitive, Receives, Synapses. A wider terminal has it." in narrow
    assert "No room for" not in wide


@pytest.mark.parametrize("threshold", [1.0, 1e6])
def test_layers_that_never_fire_are_named(threshold: float, tmp_path: Path) -> None:
    builder = GraphBuilder(DT)
    builder.input(8, Signal.EVENTS)
    builder.linear("weights", weights(4, 8))
    builder.lif("deaf", 0.9, threshold, 4)
    builder.output(4)
    write_network(tmp_path / "graph.nir", builder.build())
    write_recording(tmp_path / "inputs.npz", events(8))
    report = estimate(tmp_path / "graph.nir", inputs=tmp_path / "inputs.npz").report
    text = StringIO()
    print_headlines(report, Console(file=text, width=80))
    assert ("No neuron of deaf fires in any sample." in text.getvalue()) is (threshold > 1)


def test_long_names_of_systems_are_folded_and_cut_no_figure_off(tmp_path: Path) -> None:
    names = ["dense_importance_awgn_0", "spiking-transmitter_rayleigh_0", "separate"]
    report = estimate([dense_run(tmp_path / name) for name in names]).report
    text = StringIO()
    print_headlines(report, Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    assert "…" not in text.getvalue()
    assert any(line.strip().startswith("SynOps/s, worst ") for line in lines)
    assert "".join(text.getvalue().split()).count("importance") >= 1
    assert max(map(len, lines)) <= 80
