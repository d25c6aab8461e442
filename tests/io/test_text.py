from pathlib import Path

import pytest

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import Status, Verdict, raise_first_refusal
from nsc_deploy.io.text import counted, percent, places_apart


def test_one_is_singular_and_all_else_plural() -> None:
    assert [counted(number, "node") for number in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]
    assert counted(1, "node is", "nodes are") == "1 node is"
    assert counted(12_345, "synapse") == "12,345 synapses"


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (0.5, 0, "50"),
        (0.5, 1, "50.0"),
        (1.0, 0, "100"),
        (1.0, 2, "100.00"),
        (0.997, 0, "99.7"),
        (1.002, 0, "100.2"),
        (0.99996, 1, "99.996"),
        (1.0000004, 0, "100.00004"),
        (12.3456, 0, "1235"),
        (0.0, 1, "0.0"),
    ],
)
def test_a_share_never_looks_as_if_it_were_all(share: float, decimals: int, text: str) -> None:
    assert percent(share, decimals) == text


def test_a_share_keeps_apart_from_every_mark() -> None:
    assert percent(0.8996, apart=(0.9, 1.0)) == "89.96"
    assert percent(0.9, apart=(0.9, 1.0)) == "90"
    assert float(percent(1 - 1e-12)) < 100 < float(percent(1 + 1e-12))


@pytest.mark.parametrize(
    ("refused", "told"),
    [(1, "is odd"), (2, "is odd (1 more node is refused)"), (3, "is odd (2 more nodes are refused)")],
)
def test_further_refusals_are_counted(refused: int, told: str) -> None:
    verdicts = tuple(Verdict(f"n{index}", "LIF", Status.REFUSED, "is odd") for index in range(refused))
    with pytest.raises(ExportError) as caught:
        raise_first_refusal(verdicts)
    assert caught.value.problem == told


def test_only_labels_that_several_runs_have_need_a_place() -> None:
    runs = [Path(one) for one in ("/a/x/0", "/b/x/0", "/b/x/1", "/b/y", "/b/y")]
    assert places_apart(["fc"] * 3 + ["lstm"] * 2, runs) == ["a/x/0", "b/x/0", "1", "", ""]
