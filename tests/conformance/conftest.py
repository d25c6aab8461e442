"""What the real Lava answers to the directed networks, asked once."""

import pytest

from tests.support.directed_networks import directed_cases
from tests.support.real_lava import Answers, run_in_real_lava


@pytest.fixture(scope="session")
def core(lava_environment: object) -> Answers:
    cases = directed_cases(core=True)
    return cases, run_in_real_lava(cases, group=12)
