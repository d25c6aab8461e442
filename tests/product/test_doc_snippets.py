"""The Python that the pages show runs as it stands."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
PAGES = ("fitting.md", "passes.md", "energy.md", "training.md", "recordings.md")


def blocks(page: str) -> list[str]:
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(
    small_experiment: Callable[..., dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the files that the pages name."""
    folder = tmp_path_factory.mktemp("pages")
    run = folder / "runs" / "event"
    values = small_experiment() | {
        "system.name": "att-neurosc",
        "system.receiver": "event",
        "training.epochs": 1,
    }
    assigned = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    with pytest.raises(SystemExit) as end:
        app(["train", "--quiet", "--out", str(run), *assigned], prog_name="nsc-deploy")
    assert end.value.code == 0
    (folder / "runs" / "earlier").symlink_to(run)
    for name in ("receiver.nir", "model.nir"):
        (folder / name).write_bytes((run / "receiver.nir").read_bytes())
    (folder / "budget.toml").write_text("[limits]\nneurons = 5_000\n")
    np.save(folder / "events.npy", np.zeros((3, 2, 4), np.uint8))
    np.save(folder / "labels.npy", np.zeros(2, np.int64))
    (folder / "examples").mkdir()
    (folder / "examples" / "spoken_digits.toml").write_bytes((run / "experiment.toml").read_bytes())
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_first_block_runs(page: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a page has several, the first brings all it uses but files."""
    if "to_pandas" in blocks(page)[0]:
        pytest.importorskip("pandas")
    monkeypatch.chdir(place)
    exec(compile(blocks(page)[0], page, "exec"), {"__name__": page})  # noqa: S102 - our own page


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_block_is_python(page: str) -> None:
    for block in blocks(page):
        compile(block, page, "exec")
