import json

import pytest

from nsc_deploy.cli.app import app, main
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


def test_evaluate_knows_systems_with_memory(run, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        app(["evaluate", run, "--snr=0,6", "--out", str(tmp_path)], prog_name="nsc-deploy")
    assert end.value.code == 0
    assert "mem-deepsc, awgn" in capsys.readouterr().out
    assert (tmp_path / "accuracy.svg").is_file()
