from pathlib import Path

import pytest
from matplotlib.figure import Figure

from nsc_deploy.errors import ConfigError
from nsc_deploy.io.pictures import save_figure


@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf", ".SVG"])
def test_the_same_figure_gives_the_same_bytes(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    contents = set()
    for number in range(2):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0, 1], [number * 0, 1], marker="o", label="a line")
        axes.legend()
        save_figure(figure, tmp_path / f"figure{ending}")
        contents.add((tmp_path / f"figure{ending}").read_bytes())
    [content] = contents
    assert b"Date" not in content


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'\.docx'"):
        save_figure(Figure(), tmp_path / "figure.docx")
    assert not list(tmp_path.iterdir())
