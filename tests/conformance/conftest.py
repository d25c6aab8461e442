"""The managed Lava environment, for tests that run the real Lava."""

import pytest
from lava_support import ensure_lava

from nsc_deploy.exporters.lava.environment import LavaEnvironment


@pytest.fixture(scope="session")
def lava_environment() -> LavaEnvironment:
    return ensure_lava()
