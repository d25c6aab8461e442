"""A thousand mutated files: each command ends soon, in bounded memory, with one message or the right result.

What a right result is, `judges` says: the file as h5py, onnx, numpy, json or tomllib read it.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.robustness.fuzz.campaign import campaign, faults
from tests.robustness.fuzz.kinds import KINDS
from tests.robustness.fuzz.worker import Ended, fault_of, run_command

pytestmark = pytest.mark.fuzz

# In two processes; the kinds of a line take about as long as those of the other.
COUNTS = (
    {
        "nir-bytes": 110,
        "nir-edits": 150,
        "nir-own": 60,
        "profiles": 50,
        "budgets": 50,
        "chips": 40,
        "experiments": 40,
    },
    {"onnx-bytes": 80, "onnx-edits": 130, "onnx-own": 30, "recordings": 90, "integers": 60, "netx": 25}
    | {"manifests": 45, "exact-folders": 40, "deployments": 35, "reports": 35},
)
BY_COMMAND = 2
# A checksum finds every change: whether one of a few mutations changes nothing is chance.
SEALED = {"nir-own", "onnx-own", "netx"}
SEED = os.environ.get("NSC_DEPLOY_FUZZ_SEED", "0")


def test_a_thousand_files_are_tried() -> None:
    assert sum(sum(counts.values()) for counts in COUNTS) >= 1000
    assert {*COUNTS[0], *COUNTS[1]} == KINDS.keys()


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    folder = tmp_path_factory.mktemp("mutations")
    several = [
        [(kind, index) for kind, count in counts.items() for index in range(count)] for counts in COUNTS
    ]
    with ThreadPoolExecutor(len(several)) as pool:
        found = pool.map(lambda tasks: campaign(tasks, folder, seed=SEED), several)
        return [one for part in found for one in part]


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_mutation_ends_as_it_should(answers: list[Ended], kind: str) -> None:
    found = [one for one in answers if one.kind == kind]
    assert not any(one.fault for one in found), faults(found)
    # Most mutations do harm, and some do none: else nothing would be tried.
    codes = Counter(one.code for one in found)
    assert codes[2] > len(found) / 4, codes
    assert codes[0] + codes[1] > 0 or kind in SEALED, codes


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_thousand_mutations_of_each_kind(tmp_path: Path, kind: str) -> None:
    """Others with each seed: NSC_DEPLOY_FUZZ_SEED=7 make fuzz."""
    found = campaign([(kind, index) for index in range(1000)], tmp_path, seed=f"slow-{SEED}")
    assert not any(one.fault for one in found), faults(found)


COMMAND = """
import json, sys
from pathlib import Path
from nsc_deploy.cli.app import main
sys.argv[1:] = json.loads(Path(sys.argv[1]).read_text())
main()
"""


COMMANDS = ("nir-edits", "onnx-edits", "recordings", "manifests", "budgets", "reports")
OTHERS = [kind for kind in KINDS if kind not in {*COMMANDS, "experiments"}]


@pytest.mark.parametrize(
    "kind", [*COMMANDS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)]
)
def test_the_command_line_itself_ends_so_too(tmp_path: Path, kind: str) -> None:
    """The whole process, with what the libraries print at its end."""
    corpus = KINDS[kind].prepare(tmp_path / "corpus")
    for command in KINDS[kind].warm(corpus):
        run_command(command)  # some mutations are compared with what whole files gave
    for index in range(BY_COMMAND):
        work = tmp_path / str(index)
        work.mkdir()
        case = KINDS[kind].mutate(random.Random(f"{kind}/command/{index}"), corpus, work)
        (work / "arguments.json").write_text(json.dumps(case.command))
        command = [sys.executable, "-c", COMMAND, str(work / "arguments.json")]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not fault_of(ended.returncode, ended.stdout, ended.stderr), (case.label, ended.stderr)
        if ended.returncode != 2:
            assert not case.judge(ended.returncode, ended.stdout), case.label
