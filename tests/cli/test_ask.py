import json

import pytest

from nsc_deploy.cli.app import app, main
from nsc_deploy.energy import estimate
from nsc_deploy.training.run import train
from tests.product.test_json_answers import DOCUMENTED
from tests.training.memory.test_training import small

STORY = ["Mary went to the garden.", "John moved to the kitchen.", "Where is Mary?"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return str(train(small(), tmp_path_factory.mktemp("memory") / "run", progress=False).run)


def _print(capsys, *words):
    with pytest.raises(SystemExit) as end:
        app(["ask", *words], prog_name="nsc-deploy")
    assert end.value.code == 0
    return capsys.readouterr().out


def test_a_person_reads_what_was_sent_and_the_answer(run, capsys):
    shown = _print(capsys, run, *STORY, "--snr", "0")
    assert "At 0 dB, with a memory of 8 sentences" in shown
    assert all(text in shown for text in STORY)
    assert "Answer: " in shown


def test_a_machine_reads_the_documented_fields(run, capsys):
    told = json.loads(_print(capsys, run, *STORY, "--json"))
    assert list(told) == DOCUMENTED["ask"]
    assert [message["remembered"] for message in told["messages"]] == [True, True, False]


def test_an_unknown_word_ends_with_2_and_its_name(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["nsc-deploy", "ask", run, "Mary went to the gardn.", "Where is Mary?"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "does not know: 'gardn'; did you mean garden" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "2147483648", "99999999999999999999"])
@pytest.mark.parametrize("command", ["ask", "demo"])
def test_a_seed_that_no_run_can_have_is_refused(run, command, seed, capsys, monkeypatch):
    words = [command, *([run, *STORY] if command == "ask" else []), "--seed", seed]
    monkeypatch.setattr("sys.argv", ["nsc-deploy", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "--seed" in capsys.readouterr().err


def test_positions_of_an_importance_mask_are_told_beside_what_is_kept(tmp_path, capsys):
    run = str(train(small(system__mask="importance"), tmp_path / "run", progress=False).run)
    told = json.loads(_print(capsys, run, *STORY, "--snr", "0", "--json"))
    assert list(told) == DOCUMENTED["ask"]
    assert [message["symbols"] for message in told["messages"]] == [13] * 3  # 8 symbols at least, eq. 15
    assert told["position_symbols"] == 24  # 16 bits at rate 1/3, two in a symbol
    shown = " ".join(_print(capsys, run, *STORY, "--snr", "6").split())
    assert "12 symbols more for each say which ones the mask has kept." in shown
    assert "more for each" not in _print(capsys, run, *STORY, "--snr=-6")


def test_evaluate_knows_systems_with_memory(run, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        app(["evaluate", run, "--snr=0,6", "--out", str(tmp_path)], prog_name="nsc-deploy")
    assert end.value.code == 0
    assert "mem-deepsc, 16 symbols, awgn, 40 test questions" in capsys.readouterr().out
    assert (tmp_path / "accuracy.svg").is_file()


def test_a_receiver_that_remembers_nothing_can_be_asked_and_counted(tmp_path, capsys):
    run = str(train(small(system__memory=0), tmp_path / "run", progress=False).run)
    shown = _print(capsys, run, *STORY, "--attention", str(tmp_path / "heeded.svg"))
    assert "with a memory of 0 sentences" in shown
    assert shown.count("forgotten") == 2
    assert estimate([tmp_path / "run"]).report.systems[0].parts


def _refused(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["nsc-deploy", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_an_option_that_systems_with_memory_do_not_know_is_refused(run, monkeypatch, capsys, tmp_path):
    words = ["evaluate", run, "--out", str(tmp_path)]
    assert "--draws: is not used with" in _refused([*words, "--draws", "2"], monkeypatch, capsys)
    assert "--snr: an SNR of 1000 dB is out of range" in _refused([*words, "--snr=1000"], monkeypatch, capsys)


def test_a_rival_says_that_it_has_no_graphs(run, monkeypatch, capsys, tmp_path):
    rival = small(system__name="word-turbo", training__start_from=run)
    out = str(train(rival, tmp_path / "rival", progress=False).run)
    for words in (["inspect"], ["energy", "report"], ["export", "--target", "c", "--out", "unused"]):
        assert "is a finished run without graphs" in _refused([*words, out], monkeypatch, capsys)
