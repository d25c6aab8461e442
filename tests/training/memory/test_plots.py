import json
import runpy
from pathlib import Path

import pytest

from nsc_deploy.training.memory.evaluate import Point, Symbols
from nsc_deploy.training.memory.plots import memory_figure, write_sweeps
from nsc_deploy.training.memory.sweep import MemorySweep


def _sweep(system, channel, symbols):
    points = tuple(
        Point(snr, {1: share, 2: 1.0}, Symbols(symbols, symbols, symbols))
        for snr, share in ((-6.0, 0.2), (6.0, 0.8))
    )
    return MemorySweep(Path("runs") / system, system, channel, 100, points, settings="")


def test_each_channel_is_a_column_and_a_system_keeps_its_look():
    figure = memory_figure(
        [_sweep("dense", "awgn", 32), _sweep("text", "awgn", 190), _sweep("text", "rician", 190)]
    )
    awgn, rician, *below = figure.axes
    assert [axes.get_title() for axes in (awgn, rician)] == ["awgn", "rician"]
    assert awgn.get_lines()[0].get_ydata() == pytest.approx([60, 90])
    assert rician.get_lines()[0].get_color() == awgn.get_lines()[1].get_color()
    assert below[0].get_lines()[1].get_ydata() == pytest.approx([190, 190])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense", "text"]


def test_symbols_that_never_differ_are_not_drawn():
    assert len(memory_figure([_sweep("dense", "awgn", 32), _sweep("separate", "awgn", 32)]).axes) == 1


def test_values_are_written_beside_the_pictures(tmp_path):
    files = write_sweeps([_sweep("dense", "awgn", 32)], tmp_path)
    assert [path.name for path in files] == ["accuracy.png", "accuracy.svg", "evaluation.json"]
    [told] = json.loads(files[2].read_text())
    assert told["label"] == "dense, awgn"
    assert told["points"][0]["accuracy"] == pytest.approx(0.6)
    assert told["points"][0]["by_task"] == {"1": 0.2, "2": 1.0}
    assert (told["system"], told["channel"], told["settings"]) == ("dense", "awgn", "")


SCRIPT = str(Path(__file__).parents[3] / "examples" / "memory_figure.py")


def _told(run, system, channel, shares, settings="a"):
    points = [
        {"snr_db": snr, "accuracy": share, "symbols_with_positions": 32.0} for snr, share in shares.items()
    ]
    return {"run": run, "system": system, "channel": channel, "settings": settings, "points": points}


def test_seeds_of_several_evaluations_are_one_curve(tmp_path, capsys, monkeypatch):
    first = [_told("0", "dense", "awgn", {-6: 0.5, 0: 0.8}), _told("r", "dense", "rician", {0: 0.6})]
    second = [_told("1", "dense", "awgn", {0: 0.9, 6: 1.0}), _told("2", "dense", "awgn", {0: 0.1}, "longer")]
    for name, told in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "evaluation.json").write_text(json.dumps(told))
    module = runpy.run_path(SCRIPT)
    channels = module["curves_of"](first + second)
    assert {channel: list(curves) for channel, curves in channels.items()} == {
        "awgn": ["dense, 0", "dense, 2"],
        "rician": ["dense"],
    }
    snrs, means, bars = module["mean_curve"](channels["awgn"]["dense, 0"], "accuracy")
    assert (snrs, means, bars) == ([0], pytest.approx([0.85]), pytest.approx([0.005**0.5]))
    assert "dense over awgn at -6, 6 dB" in capsys.readouterr().err
    picture = tmp_path / "figure.png"
    arguments = [SCRIPT, str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(picture)]
    monkeypatch.setattr("sys.argv", arguments)
    runpy.run_path(SCRIPT, run_name="__main__")
    assert picture.stat().st_size > 5000


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (None, "No such file"),
        ("{", "JSONDecodeError"),
        ("[]", "no run in these"),
        ('[{"run": "0", "name": "snn-sc"}]', "KeyError('channel')"),
        (json.dumps([_told("0", "dense", "awgn", {0: 0.5})] * 2), "0 is in two of these evaluations"),
    ],
)
def test_a_figure_of_nothing_is_refused(tmp_path, capsys, monkeypatch, told, said):
    if told is not None:
        (tmp_path / "evaluation.json").write_text(told)
    monkeypatch.setattr("sys.argv", [SCRIPT, str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(SCRIPT, run_name="__main__")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
