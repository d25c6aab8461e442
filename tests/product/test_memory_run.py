"""What a person does with a finished run of a spiking system with memory, command by command."""

import json

import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.training.run import train
from tests.training.memory.test_training import small


@pytest.fixture(scope="module", params=["spiking", "spiking-transmitter"])
def run(tmp_path_factory, request):
    return train(small(system__codec=request.param), tmp_path_factory.mktemp("run") / "run", progress=False)


def call(capsys, *words):
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        app([str(word) for word in words], prog_name="nsc-deploy")
    return end.value.code, capsys.readouterr().out


def test_its_graphs_are_shown(run, capsys):
    code, shown = call(capsys, "inspect", run.run)
    assert code == 0
    assert ("CubaLIF" in shown) == (run.experiment.system.codec == "spiking-transmitter")


def test_its_sender_is_held_to_a_budget(run, tmp_path, capsys):
    budget = tmp_path / "budget.toml"
    for most, expected in ((100_000, 0), (1, 1)):
        budget.write_text(f'part = "transmitter"\n[limits]\nsynops_per_inference = {most}\n')
        code, told = call(capsys, "energy", "check", run.run, "--budget", budget, "--json")
        assert code == expected
        assert "synops_per_inference" in json.dumps(json.loads(told))


@pytest.mark.parametrize("part", ["transmitter", "receiver"])
def test_its_halves_come_onto_a_chip_without_further_options(run, tmp_path, capsys, part):
    whole = (run.experiment.system.codec, part) == ("spiking-transmitter", "transmitter")
    out = tmp_path / "lava"
    words = ["export", run.run, "--target", "lava", "--part", part, "--out", out]
    code, shown = call(capsys, *words, *([] if whole else ["--split"]))
    assert code == 0
    assert "wrote" in shown
    manifests = [json.loads(path.read_text()) for path in out.rglob("manifest.json")]
    assert [one["calibration"]["samples"] for one in manifests if "calibration" in one] == [200]
    assert call(capsys, "verify", out, "--against", "reference")[0] == 0


def test_its_graphs_give_the_spikes_of_snntorch(run, capsys):
    if run.experiment.system.codec == "spiking":
        graph = run.run / "transmitter.nir"
        assert call(capsys, "verify", graph, "--against", "snntorch", "--exact")[0] == 0
