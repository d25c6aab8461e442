import re
import subprocess
import sys
from pathlib import Path

import pytest

from nsc_deploy.energy import Budget, CountedGraph, count, estimate
from nsc_deploy.errors import BackendError, ConfigError
from nsc_deploy.graphs.formats.recording import write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import dense_run, event_run, events, spiking_graph


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [event_run(folder / "event"), dense_run(folder / "fc")]


def test_the_figures_are_those_of_the_command(runs: list[Path], tmp_path: Path) -> None:
    priced = estimate(runs, profile="horowitz-45nm-int8")
    made = estimate(runs, profile="horowitz-45nm-int8").report
    assert priced.report.systems == made.systems
    assert [path.name for path in priced.write(tmp_path)] == ["report.json", "report.html"]


def test_tables_convert_to_pandas(runs: list[Path]) -> None:
    pytest.importorskip("pandas")
    counted = count(runs)
    frame = counted.to_pandas()
    report = counted.estimate().report
    assert frame[frame.system == "fc"].macs.sum() == pytest.approx(report.systems[1].counts.macs)
    energies = counted.estimate().to_pandas()
    of = energies[(energies.system == "att-neurosc (event)") & (energies.column == "memory")]
    assert of.mean_uj.sum() == pytest.approx(report.systems[0].energy["memory"].mean_uj)


def test_without_pandas_the_way_out_is_named(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BackendError, match=r"nsc-deploy\[pandas\]"):
        count(runs[0], samples=1).to_pandas()


def test_notebooks_show_tables_and_run_nothing(tmp_path: Path) -> None:
    graph, inputs = tmp_path / "<b>x.nir", tmp_path / "inputs.npz"
    spiking_graph(graph, [6, 4], Signal.EVENTS)
    write_recording(inputs, events(6))
    counted = count(graph, inputs=inputs, samples=2)
    for page in (counted._repr_html_(), counted.estimate()._repr_html_()):
        assert page.startswith("<table>")
        assert "&lt;b&gt;x" in page
        assert "<b>" not in page


def test_budgets_from_python(runs: list[Path]) -> None:
    counted = count(runs[0], samples=2)
    assert counted.check(Budget.model_validate({"limits": {"neurons": 1000}})).passed
    assert not counted.check(Budget.model_validate({"limits": {"neurons": 1}})).passed
    with pytest.raises(ConfigError):
        counted.estimate("no-such-profile")


def test_importing_the_room_is_light() -> None:
    code = (
        "import sys, nsc_deploy.energy as energy; "
        "heavy = ('numpy', 'pydantic', 'onnx', 'onnxruntime', 'nir', 'pandas', 'jinja2', 'rich'); "
        "print([name for name in heavy if name in sys.modules]); energy.count; "
        "print([name for name in ('torch', 'pandas', 'onnxruntime', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def test_a_shell_completes_every_name_and_each_is_there() -> None:
    from nsc_deploy import energy

    assert dir(energy) == energy.__all__ == sorted(energy.__all__)
    assert {"Budget", "advise", "check", "compare", "count", "count_graph", "estimate"} < set(dir(energy))
    assert all(getattr(energy, name).__name__ == name for name in dir(energy))


def test_results_are_told_in_one_line(runs: list[Path]) -> None:
    counted = count(runs, samples=2)
    assert repr(counted) == "<Counted: att-neurosc (event), 2 samples; fc, 2 samples>"
    priced = counted.estimate()
    assert re.fullmatch(
        r"<Estimate: att-neurosc \(event\) [\d.]+ uJ; fc [\d.]+ uJ \(with memory, horowitz-45nm\)>",
        repr(priced),
    )
    assert repr(priced.report) == "<Report: att-neurosc (event), fc; horowitz-45nm>"
    assert repr(counted.check(Budget.model_validate({"limits": {"neurons": 1}}))) == "<CheckResult: 2 rows>"
    assert re.fullmatch(r"<Comparison: \d+ rows>", repr(priced.compare(priced)))
    assert re.fullmatch(r"<AdviceReport: \d+ rows?>", repr(count(runs[0], samples=2).advise()))
    for system in counted.systems:
        for part in system.parts:
            assert len(repr(CountedGraph(part)).splitlines()) == 1


def test_an_unknown_name_is_an_attribute_error() -> None:
    from nsc_deploy import energy

    with pytest.raises(AttributeError, match="weigh"):
        _ = energy.weigh
