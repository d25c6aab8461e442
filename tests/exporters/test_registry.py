"""Targets by name, and what is said of names that nobody knows."""

import pytest

from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.registry import load_target


@pytest.mark.parametrize(
    ("name", "meant"),
    [("stm32l432", "c:stm32l432"), ("lav", "lava"), ("c:stm32l43", None), ("nothing", None)],
)
def test_a_name_that_is_nearly_right_is_taken_up(name: str, meant: str | None) -> None:
    with pytest.raises(ConfigError, match="unknown") as caught:
        load_target(name)
    assert (f"did you mean {meant}?" in caught.value.problem) is (meant is not None)
    assert "c:stm32l432" in str(caught.value.hint)
