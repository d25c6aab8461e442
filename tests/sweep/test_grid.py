"""A grid file makes one run of every combination, and refuses what no run could be made of."""

import re
from pathlib import Path

import pytest

import nsc_deploy.energy.pricing
from nsc_deploy.config.memory import MemoryExperiment
from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.sweep.grid import Point, read_grid
from nsc_deploy.sweep.results import require_numbers

SEEDS = list(range(200))
GRIDS = Path(__file__).parents[2] / "examples" / "grids"
BASE = "[system]\nname = 'fc'\n\n[training]\nepochs = 7\n"


def points(folder: Path, text: str) -> tuple[Point, ...]:
    (folder / "base.toml").write_text(BASE)
    (folder / "grid.toml").write_text(text)
    return read_grid(folder / "grid.toml").points


def test_every_combination_is_a_run_with_the_rest_from_the_experiment(tmp_path: Path) -> None:
    found = points(
        tmp_path,
        "experiment = 'base.toml'\n[set]\ntraining.batch_size = 20\n"
        "[grid]\nsystem.name = ['fc', 'lstm']\nchannel.snr_db = [-10, 0.5]\ntraining.seed = [0, 1]\n",
    )
    assert [one.name for one in found[:3]] == [
        "name=fc_snr_db=-10_seed=0",
        "name=fc_snr_db=-10_seed=1",
        "name=fc_snr_db=0.5_seed=0",
    ]
    assert len({one.name for one in found}) == 8
    first, last = found[0].experiment, found[-1].experiment
    assert isinstance(last, SpeechExperiment)
    assert (last.system.name, last.channel.snr_db, last.training.seed) == ("lstm", 0.5, 1)
    assert (first.training.epochs, first.training.batch_size) == (7, 20)


def test_variants_vary_fields_together_and_folders_are_named_by_a_form(tmp_path: Path) -> None:
    found = points(
        tmp_path,
        "folder = '{variant}_{channel.snr_db}dB_{training.seed}'\n"
        "[grid]\nchannel.snr_db = [10, -10]\n"
        "[[variants]]\nname = 'event'\nsystem.name = 'att-neurosc'\nsystem.receiver = 'event'\n"
        "[[variants]]\nname = 'fc'\nsystem.name = 'fc'\n",
    )
    assert [one.name for one in found] == ["event_10dB_0", "fc_10dB_0", "event_-10dB_0", "fc_-10dB_0"]
    assert found[0].fields == {"variant": "event", "channel.snr_db": 10}


def test_a_profile_may_stand_beside_the_grid_file(tmp_path: Path) -> None:
    bundled = Path(nsc_deploy.energy.pricing.__path__[0]) / "profiles" / "horowitz-45nm.toml"
    (tmp_path / "mine.toml").write_text(bundled.read_text())
    (tmp_path / "grid.toml").write_text("profile = 'mine.toml'\n")
    assert read_grid(tmp_path / "grid.toml").profile == str(tmp_path / "mine.toml")


def test_a_text_takes_on_what_varies(tmp_path: Path) -> None:
    text = (
        "[set]\nsystem.name = 'mem-deepsc'\ntraining.start_from = 'runs/{training.seed}'\n"
        "[grid]\ntraining.seed = [0, 7]\n"
    )
    found = [one.experiment for one in points(tmp_path, text)]
    assert [one.training.start_from for one in found if isinstance(one, MemoryExperiment)] == [
        str(Path("runs/0").resolve()),
        str(Path("runs/7").resolve()),
    ]


def test_a_grid_does_not_care_for_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = points(
        tmp_path,
        "[set]\nsystem.name = 'snn-sc'\nsystem.backbone = 'runs/b'\n[grid]\nchannel.p = [0.0, 0.2]\n",
    )
    assert [one.name for one in found] == ["p=0", "p=0.2"]
    assert [one.experiment.channel.p for one in found] == [0.0, 0.2]  # type: ignore[union-attr]
    whole = str(tmp_path.resolve() / "runs/b")
    assert {one.experiment.system.backbone for one in found} == {whole}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[grid]\ntraining.sed = [0]\n", "training.sed"),
        ("[grid]\nsystem.name = ['fc', 'lsmt']\n", "lstm"),
        ("[grid]\ntraining.seed = 3\n", "must be a list"),
        ("[grid]\ntraining.seed = []\n", "must be a list"),
        ("[grid]\ntraining.seed = [1, 1]\n", "two runs of the name seed=1"),
        ("folder = '{training.seed}'\n[grid]\nchannel.snr_db = [0, 1]\n", "two runs of the name 0"),
        ("folder = '../{training.seed}'\n", "no name of a folder"),
        ("folder = '{training.sed}'\n", "no field training.sed"),
        ("[[variants]]\nname = '../x'\n", "must be a name"),
        ("[[variants]]\nname = 'a'\n[[variants]]\nname = 'a'\n", "twice"),
        ("gird = 1\n", "gird"),
        ("[set]\nsystem.name = 'mem-deepsc'\ntraining.start_from = 'r/{channel.kind}'\n", "no field of"),
        ("experiment = 'none.toml'\n", "none.toml"),
        ("profile = 'horowitz-46nm'\n", "field profile: there is no profile named 'horowitz-46nm'"),
        ("profile = 'none.toml'\n", "none.toml"),
        ("[[variants]]\nname = 'logs'\n", "calls a run logs, as the sweep calls something of its own"),
        ("[[variants]]\nname = 'results.csv'\n", "calls a run results.csv"),
        (f"[[variants]]\nname = '{'x' * 201}'\n", "more than 200 characters"),
        ("[grid]\ntraining.seed = [0]\n[[variants]]\nname = 'a'\ntraining.seed = 1\n",
         "variant a sets training.seed, which .grid. varies"),
        ("[set]\ntraining.seed = 1\n[grid]\ntraining.seed = [0]\n",
         ".set. sets training.seed, which .grid. varies"),
        ("folder = '{system.name}'\n[grid]\nsystem = [{name = 'fc'}, {name = 'lstm'}]\n", "texts, numbers"),
        ("folder = 'x'\n[grid]\ndata.speaker = [['george']]\n", "texts, numbers"),
        ("[grid]\ntraining.seed = [0, 1]\n'training.seed' = [2]\n", "grid.training.seed: is there twice"),
        ("[set]\n'training.seed' = 2\ntraining.seed = 1\n", "field set.training.seed: is there twice"),
        ("[[variants]]\nname = 'a'\n'training.seed' = 2\ntraining.seed = 1\n",
         "variants.0..training.seed: is there twice"),
        ("[grid]\nchannel = {}\n", "field grid.channel: is a table without fields"),
        ("[set]\nchannel.x = {}\n", "field set.channel.x: is a table without fields"),
        (f"[grid]\ntraining.seed = {SEEDS}\ntraining.epochs = {SEEDS}\n", "40,000 runs"),
    ],
)  # fmt: skip
def test_what_makes_no_runs_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        points(tmp_path, text)


@pytest.mark.parametrize("name", [path.name for path in GRIDS.iterdir()])
def test_every_grid_of_the_examples_can_be_begun(name: str) -> None:
    grid = read_grid(GRIDS / name)
    require_numbers(grid)
    stated = re.search(r"(\d+) runs", grid.path.read_text())
    assert stated is None or len(grid.points) == int(stated[1])


def test_the_grid_of_memory_names_a_run_for_each_system_and_channel() -> None:
    grid = read_grid(GRIDS / "babi_results.toml")
    experiments = {one.name: one.experiment for one in grid.points}
    assert len(experiments) == 12 * 4 + 3
    assert {name.split("_")[1] for name in experiments} == {"awgn", "rician", "pilot", "rayleigh"}
    pilot = experiments["importance_pilot_0"]
    assert isinstance(pilot, MemoryExperiment)
    assert (pilot.system.mask, pilot.channel.kind, pilot.channel.knowledge) == (
        "importance",
        "rician",
        "pilot",
    )
    assert pilot.training.start_from == str(Path("runs/babi/first_0").resolve())
    alone = experiments["question-only_awgn_0"]
    assert isinstance(alone, MemoryExperiment)
    assert (alone.system.memory, alone.training.start_from) == (0, None)
    spiking = experiments["spiking_rician_0"]
    assert isinstance(spiking, MemoryExperiment)
    assert (spiking.system.codec, spiking.training.freeze_encoder) == ("spiking", True)


def test_the_grid_of_cifar100_holds_every_codec_and_three_seeds_where_it_matters() -> None:
    grid = read_grid(GRIDS / "cifar100_results.toml")
    plain = [point for point in grid.points if point.name.count("-") == 1]
    combinations = {
        (one.system.name, one.system.steps, one.channel.kind.value, one.channel.p)
        for one in (point.experiment for point in plain)
    }
    assert len(combinations) == 4 * 2 * 2 * 2
    seeds = {
        point.experiment.training.seed
        for point in plain
        if point.name.startswith("snn-sc_n8_bsc") and point.experiment.channel.p == 0.25
    }
    assert seeds == {0, 1, 2}
    ablated = [point for point in grid.points if point not in plain]
    assert {point.experiment.system.steps for point in ablated} == {8}
    assert {point.experiment.training.precision for point in grid.points} == {"auto"}
