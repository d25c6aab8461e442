import json
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
    return MemorySweep(Path("runs") / system, system, channel, points)


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
