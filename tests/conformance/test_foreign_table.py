"""No network of another framework comes back wrong without a word; which ones come back exact."""

import pytest

from tests.conformance.foreign_table import EXACT, FRAMEWORKS, MENDED, REFUSED, installed, verdicts

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

REFUSED_NETWORKS = {
    "snnTorch": {"inhibition", "no reset"},
    "Norse": set(),
    "SpikingJelly": set(),
    "sinabs": {"IAF, held above -1", "convolution, MultiSpike"},
    "Rockpool": {"several spikes a step", "recurrent"},
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_network_comes_back_exact_or_is_refused(framework: str) -> None:
    if not installed(FRAMEWORKS[framework][0]):
        pytest.skip(f"{framework} is not installed")
    found = verdicts(framework)
    assert {name for name, kind in found.items() if kind == REFUSED} == REFUSED_NETWORKS[framework]
    assert {kind for name, kind in found.items() if name not in REFUSED_NETWORKS[framework]} <= {
        EXACT,
        MENDED,
    }
