"""`nsc-deploy data`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nsc_deploy.cli.app import app
from nsc_deploy.data.catalogue import located
from nsc_deploy.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def _no_data_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("NSC_DEPLOY_DATA", raising=False)


def test_list_says_what_is_here_and_what_is_not(tone_digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSC_DEPLOY_DATA", str(tone_digits.parent))
    answer = CliRunner().invoke(app, ["data", "list", "--json"])
    places = {entry["name"]: entry["place"] for entry in json.loads(answer.stdout)}
    assert places["fsdd"] == str(tone_digits)
    assert places["shd"] is None
    text = CliRunner().invoke(app, ["data", "list"]).stdout
    said = dict(line.split()[:2] for line in text.splitlines())
    assert (said["fsdd"], said["shd"], said["cifar100"]) == ("here", "absent", "absent")


def test_info_counts_what_it_encodes(tone_digits: Path) -> None:
    answer = CliRunner().invoke(
        app, ["data", "info", "fsdd", "--path", str(tone_digits), "--encode", "--json"]
    )
    described = json.loads(answer.stdout)
    assert (described["train_samples"], described["test_samples"]) == (200, 100)
    assert (described["channels"], described["steps"], described["dt"]) == (256, 30, 0.03)
    assert 0 < described["train_rate"] < 0.5
    assert described["licence"] == "CC BY-SA 4.0"


def test_info_of_an_absent_set_says_how_to_get_it() -> None:
    answer = CliRunner().invoke(app, ["data", "info", "shd"])
    assert answer.exit_code == 0
    assert "nsc-deploy data fetch shd" in answer.stdout
    answer = CliRunner().invoke(app, ["data", "info", "shd", "--encode"])
    assert isinstance(answer.exception, DataError)


def test_an_unknown_set_is_refused_with_the_known_ones() -> None:
    answer = CliRunner().invoke(app, ["data", "info", "mnist"])
    assert isinstance(answer.exception, ConfigError)
    assert "spoken-digits, fsdd, shd" in answer.exception.message


def test_a_path_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        CliRunner().invoke(
            app, ["data", "info", "fsdd", "--path", str(tmp_path / "none.npz")], catch_exceptions=False
        )
    file = tmp_path / "spikes.h5"
    file.touch()
    with pytest.raises(DataError, match=r"spikes\.h5: is neither"):
        CliRunner().invoke(app, ["data", "info", "shd", "--path", str(file)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("spoken-digits", "here", "path: is not used: spoken-digits is synthesised, from no file"),
        ("digits", "here", "path: is not used: the digits come with scikit-learn"),
    ],
)
def test_a_path_that_is_of_no_use_is_refused_with_the_reason(name: str, path: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CliRunner().invoke(app, ["data", "info", name, "--path", path], catch_exceptions=False)


def test_what_is_no_path_is_not_said_to_be_of_no_use() -> None:
    with pytest.raises(ConfigError, match="path: embedded null byte"):
        located("fsdd", Path("\0"))


@pytest.mark.parametrize("name", ["shd", "cifar100", "babi"])
def test_a_digest_to_expect_is_of_fsdd_alone(name: str, tmp_path: Path) -> None:
    """Whoever names one thinks that nothing else is taken."""
    asked = ["data", "fetch", name, "--expect", "0" * 64, "--folder", str(tmp_path)]
    error = CliRunner().invoke(app, asked).exception
    assert isinstance(error, ConfigError)
    assert error.where == "--expect"
    assert "only used by fsdd" in error.problem


def test_info_for_people_has_units(tone_digits: Path) -> None:
    text = CliRunner().invoke(app, ["data", "info", "fsdd", "--path", str(tone_digits), "--encode"]).stdout
    rows = {line[:16].strip(): line[16:].strip() for line in text.splitlines()}
    assert rows["steps"] == "30 of 30 ms"
    assert rows["training part"] == "200 samples"
    assert rows["event rate"].partition("%")[2].startswith(" of channels and steps")


def test_info_of_stories_counts_words_and_sentences(tmp_path: Path) -> None:
    folder = tmp_path / "babi" / "en-10k"
    folder.mkdir(parents=True)
    for task in range(1, 21):
        story = f"1 Mary went to place {'abcdefghijklmnopqrst'[task - 1]}.\n2 Where is Mary?\tthere\t1\n"
        for part, count in (("train", 10), ("test", 3)):
            (folder / f"qa{task}_of-a-kind_{part}.txt").write_text(story * count)
    command = ["data", "info", "babi", "--path", str(tmp_path), "--encode"]
    described = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (described["train_samples"], described["test_samples"]) == (160, 60)
    assert described["words"] == 6 + 20
    assert described["licence"] == "CC BY 3.0"
    assert "in 21 distinct sentences" in CliRunner().invoke(app, command).stdout
