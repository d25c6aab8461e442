"""What a command writes takes the place of no file that it reads, and of none of another kind."""

from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.outputs import FileKind, require_output

MEND = "mend theirs.nir --from spikingjelly --reset zero --signal events --inputs x.npy --outputs y.npy --out"
RECORD = "record x.npy --labels labels.npy --signal events --dt 1e-3 --out"
RUN = "run lava --backend twin --inputs other.npz --out"
CHECK = "energy check ours.nir --inputs ours.npz --budget budget.toml --junit"
ADVISE = "energy advise ours.nir --inputs ours.npz --write"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the commands read, in which they run."""
    monkeypatch.chdir(tmp_path)
    ones = np.ones(3)
    nodes = {
        "input": nir.Input(np.array([4])),
        "w": nir.Linear(np.full((3, 4), 0.5)),
        "n": nir.IF(r=ones, v_threshold=ones),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "w"), ("w", "n"), ("n", "output")]
    nir.write("theirs.nir", nir.NIRGraph(nodes, edges, metadata={"dt": 1e-3}))
    ours = GraphBuilder(1e-3)
    ours.input(4, Signal.EVENTS)
    ours.linear("w", np.full((3, 4), 0.5))
    ours.lif("n", 0.5, 0.75, 3)
    ours.linear("w2", np.array([[0.5, 0.5, 0.0]]))  # the last neuron drives nothing
    ours.lif("n2", 0.5, 0.75, 1)
    ours.output(1)
    write_network(Path("ours.nir"), ours.build())
    values = np.random.default_rng(0).integers(0, 2, (12, 6, 4)).astype(np.uint8)
    for name in ("ours", "other"):
        write_recording(Path(f"{name}.npz"), Recording(values, Signal.EVENTS, 1e-3))
    np.save("x.npy", values)
    np.save("y.npy", np.zeros((12, 6, 3)))
    np.save("labels.npy", np.arange(6) % 3)
    Path("budget.toml").write_text("[limits]\nsynops_per_inference = 1e9\n")
    Path("notes.txt").write_text("keep me\n")
    export_all(Path("ours.nir"), "lava", Path("lava"), inputs=Path("ours.npz"))
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("command", "out", "told"),
    [
        (MEND, "theirs.nir", "is read here"),
        (MEND, "./theirs.nir", "is read here"),
        (MEND, "other.npz", "would be read as an archive of arrays, by its name"),
        (MEND, "new.npz", "would be read as an archive of arrays, by its name"),
        (MEND, "new.onnx", "would be read as an ONNX graph, by its name"),
        (MEND, "notes.txt", "is no file of this kind, and would be replaced by a NIR graph"),
        (MEND, "lava/source.nir", "is a file of a deployment"),
        (RECORD, "x.npy", "would be read as an array, by its name"),
        (RECORD, "ours.nir", "would be read as a NIR graph, by its name"),
        (RECORD, "new.nir", "would be read as a NIR graph, by its name"),
        (RECORD, "notes.txt", "is no file of this kind"),
        (RECORD, "lava/inputs.npz", "is a file of a deployment"),
        (RUN, "other.npz", "is read here"),
        (RUN, "ours.nir", "would be read as a NIR graph, by its name"),
        (RUN, "new.npy", "would be read as an array, by its name"),
        (RUN, "lava/inputs.npz", "is a file of a deployment"),
        (RUN, "lava/network.npz", "is a file of a deployment"),
        (CHECK, "ours.nir", "would be read as a NIR graph, by its name"),
        (CHECK, "budget.toml", "is read here"),
        (CHECK, "lava/manifest.json", "is a file of a deployment"),
        (CHECK, "notes.txt", "is no file of this kind, and would be replaced by a JUnit file"),
        (ADVISE, "ours.nir", "is read here"),
        (ADVISE, "other.npz", "would be read as an archive of arrays, by its name"),
        (ADVISE, "notes.txt", "is no file of this kind"),
    ],
)
def test_nothing_is_lost(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, out: str, told: str
) -> None:
    before = contents(place)
    assert run_to_exit_code(lambda: app([*command.split(), out], prog_name="nsc-deploy")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert told in said
    assert "nothing was changed" in said
    assert contents(place) == before


@pytest.mark.parametrize(
    ("command", "out"),
    [(MEND.replace(" --inputs x.npy --outputs y.npy", ""), "new.nir"), (RECORD, "new.npz"), (RUN, "new.npz"),
     (RUN, "lava/spikes.npz"), (CHECK, "new.xml"), (ADVISE, "new.nir")],
)  # fmt: skip
def test_an_earlier_result_is_replaced(place: Path, command: str, out: str) -> None:
    for _ in range(2):
        assert run_to_exit_code(lambda: app([*command.split(), out], prog_name="nsc-deploy")) == 0
        assert (place / out).stat().st_size


def test_a_name_of_its_own_is_no_other_file(place: Path) -> None:
    """What is read may be known under another name, and an empty file holds nothing to lose."""
    Path("link.nir").symlink_to("ours.nir")
    with pytest.raises(ConfigError, match="is read here"):
        require_output(Path("ours.nir"), FileKind.GRAPH, (None, Path("gone.nir"), Path("link.nir")))
    Path("empty").touch()
    require_output(Path("empty"), FileKind.GRAPH)
    require_output(Path("theirs.nir"), FileKind.GRAPH, (Path("ours.nir"),))
    assert read_network(Path("ours.nir")).dt == read_recording(Path("ours.npz")).dt
