import pytest

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import Status, Verdict, raise_first_refusal
from nsc_deploy.io.text import counted


def test_one_is_singular_and_all_else_plural() -> None:
    assert [counted(number, "node") for number in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]
    assert counted(1, "node is", "nodes are") == "1 node is"
    assert counted(12_345, "synapse") == "12,345 synapses"


@pytest.mark.parametrize(
    ("refused", "told"),
    [(1, "is odd"), (2, "is odd (1 more node is refused)"), (3, "is odd (2 more nodes are refused)")],
)
def test_further_refusals_are_counted(refused: int, told: str) -> None:
    verdicts = tuple(Verdict(f"n{index}", "LIF", Status.REFUSED, "is odd") for index in range(refused))
    with pytest.raises(ExportError) as caught:
        raise_first_refusal(verdicts)
    assert caught.value.problem == told
