import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import nsc_deploy.energy
from nsc_deploy.deployment import Place, Side, read_deployment, write_deployment
from nsc_deploy.energy import Estimate, estimate
from nsc_deploy.energy.output.tables import load_table, systems_table
from nsc_deploy.energy.output.terminal import print_report
from nsc_deploy.energy.report.numbers import MISSING, bounded, with_signs
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.errors import ConfigError, DataError, GraphError, UserError
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import (
    dense_run,
    event_run,
    events,
    lstm_graph,
    lstm_run,
    reals,
    spiking_graph,
    write_run,
)

PROFILES = Path(nsc_deploy.energy.__file__).parent / "pricing" / "profiles"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [event_run(folder / "event"), dense_run(folder / "fc"), lstm_run(folder / "lstm")]


@pytest.fixture(scope="module")
def report(runs: list[Path]) -> Report:
    return estimate(runs).report


def test_systems_parts_and_facts(report: Report) -> None:
    event, fc, lstm = report.systems
    assert [system.label for system in report.systems] == ["att-neurosc (event)", "fc", "lstm"]
    assert [part.name for part in event.parts] == ["transmitter", "receiver-front-end", "receiver"]
    assert (event.accuracy, event.snr_db, event.channel_uses) == (0.962, 10.0, 16 * 12)
    assert (event.spiking, fc.spiking, lstm.spiking) == (True, False, False)
    assert [system.poster.energy_uj for system in report.systems if system.poster] == [3.63, 11.73, 17.58]
    assert [round(system.poster.ratio, 2) for system in report.systems if system.poster] == [1, 3.23, 4.84]


def test_parts_without_synaptic_operations_have_a_dash_for_their_load(runs: list[Path]) -> None:
    report = estimate(runs[0]).report
    (system,) = report.systems
    idle = system.parts[0].load.model_copy(
        update=dict.fromkeys(("mean", "p95", "worst", "busiest_step", "worst_step"), 0.0)
    )
    parts = (system.parts[0].model_copy(update={"load": idle}), *system.parts[1:])
    _, first, *others = load_table(report, [system.model_copy(update={"parts": parts})]).rows
    assert [cell for cell in first.cells if cell] == ["  transmitter", *[MISSING] * 5]
    assert all(MISSING not in row.cells for row in others)


def test_the_radio_is_an_item_of_its_own_where_a_profile_prices_it(runs: list[Path], tmp_path: Path) -> None:
    own = (PROFILES / "horowitz-45nm.toml").read_text().replace('"horowitz-45nm"', '"mine"')
    radio = '\n[radio]\nchannel_use = { value = 2, unit = "nJ" }\nsource = "data sheet, table 7"\n'
    (tmp_path / "mine.toml").write_text(own + radio)
    plain, priced = estimate(runs).report, estimate(runs, profile=tmp_path / "mine.toml").report
    assert [one.radio_uj for one in plain.systems] == [None, None, None]
    assert [one.radio_uj for one in priced.systems] == [
        pytest.approx(0.002 * one.channel_uses) for one in priced.systems
    ]
    assert plain.systems[0].energy == priced.systems[0].energy
    heads = [[column.head for column in systems_table(one).columns] for one in (plain, priced)]
    assert [any("Radio" in title for title in one) for one in heads] == [False, True]
    assert any("2000 pJ a channel use, data sheet, table 7" in line for line in priced.estimated)


def test_rest_and_addresses_are_items_of_their_own_where_a_profile_prices_them(
    runs: list[Path], tmp_path: Path
) -> None:
    own = (PROFILES / "horowitz-45nm.toml").read_text().replace('"horowitz-45nm"', '"mine"')
    rest = '\n[static_power]\nvalue = 420\nunit = "uW"\nsource = "at the supply"\n'
    found = '\n[addressing]\nsynapse = { value = 100, unit = "fJ" }\nsource = "an int32 addition"\n'
    (tmp_path / "mine.toml").write_text(own + rest + found)
    plain, priced = estimate(runs).report, estimate(runs, profile=tmp_path / "mine.toml").report
    assert {(one.static_uj, one.addressing_uj) for one in plain.systems} == {(None, None)}
    for before, after in zip(plain.systems, priced.systems, strict=True):
        assert after.energy == before.energy
        assert after.addressing_uj == pytest.approx(after.synops.mean * 0.1e-6)
        ends = {part.side for part in after.parts}
        longest = max(part.steps * part.dt for part in after.parts)
        assert after.static_uj == pytest.approx(len(ends) * longest * 420)
    heads = [column.head for column in systems_table(priced).columns]
    assert {"Static\nuJ", "Address.\nuJ"} <= set(heads)
    assert any("420 uW at each end, at the supply" in line for line in priced.estimated)


def test_a_trained_opponent_stands_beside_the_column_that_prices_it(runs: list[Path], tmp_path: Path) -> None:
    qnn = dense_run(tmp_path / "qnn")
    deployment = read_deployment(qnn)
    write_deployment(qnn, deployment.model_copy(update={"system": "qnn", "test_accuracy": 0.967}))
    report = estimate([runs[0], qnn, runs[2]]).report
    [opponent] = report.trained_opponents
    system = report.systems[1]
    assert (opponent.system, opponent.accuracy) == ("qnn", 0.967)
    assert opponent.energy_uj == system.energy["memory"].mean_uj
    assert opponent.receiver_uj == system.sides[Side.RECEIVER]["memory"].mean_uj
    note = systems_table(report).note
    assert "\nThe bit-matched ANN, trained: qnn reaches 96.7% at " in note
    assert "ann" in report.systems[0].energy  # the column stays
    assert estimate([qnn, runs[2]]).report.trained_opponents == ()  # nothing spiking beside it
    assert "bit-matched" not in systems_table(estimate(runs).report).note


def test_energies_add_up_over_layers_parts_and_sides(report: Report) -> None:
    for system in report.systems:
        for column in ("paper", "compute"):
            whole = system.energy[column].mean_uj
            assert whole > 0
            assert sum(part.energy[column].mean_uj for part in system.parts) == pytest.approx(whole)
            assert sum(side[column].mean_uj for side in system.sides.values()) == pytest.approx(whole)
            layers = [layer for part in system.parts for layer in part.layers]
            assert sum(layer.energy[column].mean_uj for layer in layers) == pytest.approx(whole)
            assert sum(system.energy[column].kinds_uj.values()) == pytest.approx(whole)


def test_the_ratio_is_to_the_first_system(report: Report) -> None:
    first, fc, _ = report.systems
    assert first.ratio["paper"].system == 1
    expected = fc.sides[Side.RECEIVER]["compute"].mean_uj / first.sides[Side.RECEIVER]["compute"].mean_uj
    assert fc.ratio["compute"].receiver == pytest.approx(expected)


def test_the_sizes_of_the_poster_give_the_energy_its_lstm_receiver_must_have(tmp_path: Path) -> None:
    lstm_graph(tmp_path / "receiver.onnx", 270, 128, 100)
    fifteen = np.zeros((15, 2, 270), dtype=np.float32)
    run = write_run(
        tmp_path,
        "lstm",
        [("receiver", Side.RECEIVER, Place.HOST, "receiver.onnx", Recording(fifteen, Signal.REAL, 0.06))],
    )
    receiver = estimate([run]).report.systems[0]
    assert receiver.counts.macs == 15 * (4 * 128 * (270 + 128) + 128 * 100) == 3_248_640
    assert receiver.energy["paper"].mean_uj == pytest.approx(14.94, abs=0.005)


def test_json_follows_its_schema_and_reads_back(report: Report, tmp_path: Path) -> None:
    written = Estimate(report).write(tmp_path / "out")
    assert [path.name for path in written] == ["report.json", "report.html"]
    assert Report.model_validate_json(written[0].read_text()) == report
    assert "systems" in Report.model_json_schema()["properties"]


class _Outside(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # A link to a place on the page itself leads nowhere outside.
        leads = [name for name, value in attrs if not (name == "href" and (value or "").startswith("#"))]
        self.found += [f"{tag} {name}" for name in leads if name in {"src", "href", "onload"}]
        if tag in {"script", "link", "iframe"}:
            self.found.append(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_outside(report: Report, tmp_path: Path) -> None:
    page = Estimate(report).write(tmp_path)[1].read_text()
    parser = _Outside()
    parser.feed(re.sub(r"<(rect|line|circle)([^>]*)/>", "", page))
    assert parser.found == []
    assert parser.open == []
    assert len(page) < 200_000
    for words in ("att-neurosc (event)", "Poster", "What is estimated", "Definitions", "11.73", "SHA-256"):
        assert words in page


def test_names_from_files_are_shown_and_not_run(runs: list[Path], tmp_path: Path) -> None:
    shown = estimate(runs[:1]).report
    renamed = shown.model_copy(
        update={"systems": (shown.systems[0].model_copy(update={"label": "<script>alert(1)</script>"}),)}
    )
    page = Estimate(renamed).write(tmp_path / "out")[1].read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_profile_without_a_price_gives_bounds_and_no_ratio(runs: list[Path], tmp_path: Path) -> None:
    report = estimate(runs, profile="loihi").report
    event, fc, _ = report.systems
    assert fc.energy["compute"].unpriced
    assert fc.ratio["compute"].system is None
    page = Estimate(report).write(tmp_path)[1].read_text()
    assert "Accuracy against energy" not in page
    assert "no price" in page
    assert event.energy["compute"].low_uj < event.energy["compute"].mean_uj


def test_samples_and_bare_graphs(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "receiver.nir", [6, 4], Signal.EVENTS)
    write_recording(tmp_path / "inputs.npz", events(6))
    report = estimate([tmp_path / "receiver.nir"], inputs=[tmp_path / "inputs.npz"], samples=3).report
    system = report.systems[0]
    assert (system.label, system.samples, system.accuracy, system.poster) == ("receiver", 3, None, None)
    assert system.counts.acs == pytest.approx(4 * events(6).values[:, :3].sum() / 3)
    assert report.poster_note is None


def test_two_runs_of_one_system_are_told_apart(tmp_path: Path) -> None:
    labels = [
        system.label
        for system in estimate(
            [dense_run(tmp_path / "a"), dense_run(tmp_path / "b")], samples=1
        ).report.systems
    ]
    assert labels == ["fc in a", "fc in b"]


def test_bad_input_is_named(tmp_path: Path, runs: list[Path]) -> None:
    graph = tmp_path / "receiver.nir"
    spiking_graph(graph, [6, 4], Signal.EVENTS)
    write_recording(tmp_path / "wide.npz", events(7))
    (tmp_path / "notes.txt").write_text("?")
    lost = dense_run(tmp_path / "lost")
    (lost / "receiver.onnx").unlink()
    outside = dense_run(tmp_path / "outside")
    text = (outside / "deployment.json").read_text()
    (outside / "deployment.json").write_text(text.replace('"receiver.onnx"', '"../lost/transmitter.onnx"'))
    uneven = dense_run(tmp_path / "uneven")
    write_recording(uneven / "receiver.npz", reals(16).first(3))
    cases: list[tuple[list[Path], dict[str, object], type[UserError], str]] = [
        (runs[:1], {"profile": "horowitz"}, ConfigError, "no profile named"),
        ([tmp_path / "none"], {}, DataError, "does not exist"),
        ([tmp_path], {}, DataError, "neither a finished run"),
        ([tmp_path / "notes.txt"], {}, ConfigError, "neither a run folder"),
        ([graph], {}, ConfigError, "without recorded inputs"),
        (runs[:1], {"inputs": [tmp_path / "inputs.npz"]}, ConfigError, "only runs are named"),
        ([graph], {"inputs": [tmp_path / "wide.npz"]}, DataError, "wide.npz"),
        ([graph], {"inputs": [tmp_path / "wide.npz"] * 2}, ConfigError, "2 recordings"),
        ([graph], {"inputs": [tmp_path / "no.npz"]}, DataError, "no.npz"),
        ([lost], {}, DataError, "missing"),
        ([outside], {}, DataError, "outside"),
        ([uneven], {}, DataError, "different numbers"),
        (runs[:1], {"samples": 0}, ConfigError, "at least one sample"),
        (runs[:1], {"reset": "half"}, ConfigError, "zero or subtract"),
    ]
    for paths, options, kind, words in cases:
        with pytest.raises(kind) as caught:
            estimate(paths, **options)  # type: ignore[arg-type]
        assert words in caught.value.message


def test_damaged_recordings(tmp_path: Path) -> None:
    graph = tmp_path / "receiver.nir"
    spiking_graph(graph, [6, 4], Signal.REAL)
    path = tmp_path / "inputs.npz"
    write_recording(path, reals(6))
    whole = dict(np.load(path))
    holed = whole["values"].copy()
    holed[7] = np.nan
    np.savez(path, **whole | {"values": holed})
    with pytest.raises(DataError, match="NaN or infinity"):
        estimate([graph], inputs=[path])
    steps, _, *shape = whole["shape"]
    np.savez(path, **whole | {"values": holed[:0], "shape": np.array([steps, 0, *shape])})
    with pytest.raises(DataError, match="holds no values"):
        estimate([graph], inputs=[path])
    graph.write_bytes(b"damaged")
    write_recording(path, reals(6))
    with pytest.raises(GraphError):
        estimate([graph], inputs=[path])


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nsc_deploy.cli.app import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


def test_the_command_prints_json_and_writes_both_files(runs: list[Path], tmp_path: Path) -> None:
    done = shell(
        "energy", "report", *runs, "--profile", "loihi", "--out", tmp_path / "out", "--json", "--samples", 2
    )
    assert done.returncode == 0, done.stderr
    assert Report.model_validate(json.loads(done.stdout)).profile.name == "loihi"
    assert (tmp_path / "out" / "report.html").is_file()
    assert "report.html" in done.stderr


def test_the_command_prints_a_table(runs: list[Path]) -> None:
    brief = shell("energy", "report", *runs, "--samples", 2)
    assert "Busiest step" in brief.stdout
    assert "3.23" not in brief.stdout
    done = shell("energy", "report", *runs, "--samples", 2, "--details")
    assert done.returncode == 0, done.stderr
    for words in ("att-neurosc (event)", "3.23", "receiver-front-end", "linear1"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("report", "nowhere"), "nowhere"),
        (("profiles", "nothing"), "no profile named"),
        (("report", ".", "--profile", "my-chip.toml"), "my-chip.toml"),
    ],
)
def test_the_command_ends_with_2_and_one_message(arguments: tuple[str, ...], words: str) -> None:
    done = shell("energy", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_profiles_and_schema_are_listed_for_people_and_machines() -> None:
    listed = shell("energy", "profiles", "--json")
    assert {"horowitz-45nm", "loihi"} <= {profile["name"] for profile in json.loads(listed.stdout)}
    assert "Horowitz" in shell("energy", "profiles").stdout
    assert "against it" in shell("energy", "profiles", "loihi").stdout
    assert json.loads(shell("energy", "schema").stdout)["title"] == "Report"


def test_no_training_framework_is_imported(runs: list[Path]) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from nsc_deploy.energy import estimate; "
        f"estimate([Path(p) for p in {[str(run) for run in runs]!r}], samples=1).write("
        f"Path({str(runs[0].parent / 'out')!r})); "
        "print([name for name in ('torch', 'snntorch', 'norse', 'lightning') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.strip() == "[]"


def test_a_lower_bound_is_marked_in_every_figure(tmp_path: Path) -> None:
    report = estimate([event_run(tmp_path / "event")], profile="loihi").report
    front = report.systems[0].parts[1].energy["memory"]
    assert front.unpriced
    assert all(bounded(front, value, 2).startswith("> ") for value in (front.median_uj, front.worst_uj))
    page = Estimate(report).write(tmp_path / "out")[1].read_text()
    row = re.search(r"<tr><td>receiver-front-end</td>(<td>.*?)</tr>", page, re.S)
    assert row is not None
    figures = re.findall(r"<td>([^<]*)</td>", row.group(1))[:-1]
    assert len(figures) == 6
    assert all(figure.startswith("&gt; ") for figure in figures)


def test_without_a_price_for_the_opponent_a_sentence_takes_the_place_of_a_table(tmp_path: Path) -> None:
    run = event_run(tmp_path / "event")
    for profile, there in (("loihi", False), ("horowitz-45nm", True)):
        report = estimate([run], profile=profile).report
        page = Estimate(report).write(tmp_path / profile)[1].read_text()
        text = StringIO()
        print_report(report, Console(file=text, width=120))
        for shown in (page, text.getvalue()):
            assert ("it drives" in shown or "and its neurons" in shown) is there
        assert ("no price for the bit-matched ANN" in page) is not there


def test_a_page_has_the_signs_of_units() -> None:
    assert with_signs("takes 20.7 uJ in 30 us, 2 us") == "takes 20.7 µJ in 30 µs, 2 µs"
    assert with_signs("used by us all, uJs") == "used by us all, uJs"
