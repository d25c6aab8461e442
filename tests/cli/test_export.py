"""`nsc-deploy export` says what would help where the decisions of integers differ."""

from pathlib import Path

import pytest

from nsc_deploy.cli.export import calibration_hint
from nsc_deploy.io.files import write_json


@pytest.mark.parametrize(
    ("agreement", "calibration", "proposed"),
    [
        (0.7, {"samples": 0}, True),
        (1.0, {"samples": 0}, False),
        (None, {"samples": 0}, False),
        (0.7, {"samples": 12}, False),
        (0.7, None, False),
    ],
)
def test_decisions_that_differ_propose_a_calibration(
    tmp_path: Path, agreement: float | None, calibration: dict[str, int] | None, proposed: bool
) -> None:
    content = {"verification": {"agreement": agreement}} | (
        {} if calibration is None else {"calibration": calibration}
    )
    write_json(tmp_path / "manifest.json", content)
    hint = calibration_hint(tmp_path)
    assert (hint is not None) is proposed
    if hint is not None:
        assert "30.0% of the decisions differ" in hint
        assert "--calibration FILE.npz" in hint


def test_a_folder_without_a_manifest_proposes_nothing(tmp_path: Path) -> None:
    assert calibration_hint(tmp_path) is None
