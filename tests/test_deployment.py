import json
from pathlib import Path
from typing import Any

import pytest

from nsc_deploy.deployment import (
    FILE_NAME,
    ChannelUse,
    Deployment,
    Part,
    Place,
    Readout,
    Side,
    read_deployment,
    write_deployment,
)
from nsc_deploy.errors import DataError


@pytest.fixture
def deployment() -> Deployment:
    return Deployment(
        system="att-neurosc",
        receiver="event",
        dataset="spoken-digits",
        class_names=("zero", "one"),
        dt=0.03,
        channel=ChannelUse(kind="multipath", snr_db=-10, taps=8, uses_per_step=128, steps=30),
        readout=Readout(classes=2, group=5),
        parts=(
            Part(
                name="transmitter",
                side=Side.TRANSMITTER,
                place=Place.CHIP,
                graph="transmitter.nir",
                recording="transmitter-inputs.npz",
            ),
            Part(
                name="receiver",
                side=Side.RECEIVER,
                place=Place.CHIP,
                graph="receiver.nir",
                recording="receiver-inputs.npz",
            ),
        ),
        test_accuracy=0.96,
    )


def test_a_deployment_comes_back(tmp_path: Path, deployment: Deployment) -> None:
    write_deployment(tmp_path, deployment)
    assert read_deployment(tmp_path) == deployment


def test_a_folder_without_a_finished_run_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished run") as caught:
        read_deployment(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "nsc-deploy train" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["dt"], 0),
        (["dt"], float("inf")),
        (["test_accuracy"], float("nan")),
        (["test_accuracy"], 1.5),
        (["channel", "taps"], 0),
        (["readout", "classes"], 1),
        (["parts", 0, "place"], "cloud"),
        (["parts", 1, "graph"], "../../elsewhere.nir"),
        (["parts", 1, "recording"], "/etc/passwd"),
        (["parts", 1, "graph"], ""),
        (["parts", 1, "graph"], ".."),
        (["parts", 1, "name"], "../escaped"),
        (["parts", 1, "name"], "/escaped"),
        (["parts", 1, "name"], "."),
        (["parts", 1, "name"], "a" * 151),
        (["sistem"], "a typo"),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    tmp_path: Path, deployment: Deployment, path: list[str | int], value: Any
) -> None:
    content: Any = deployment.model_dump(mode="json")
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"field " + r"\.".join(map(str, path))) as caught:
        read_deployment(tmp_path)
    assert caught.value.where == str(tmp_path / FILE_NAME)


@pytest.mark.parametrize("name", ["transmitter", "Transmitter"])
def test_two_parts_of_one_name_are_refused(tmp_path: Path, deployment: Deployment, name: str) -> None:
    content: Any = deployment.model_dump(mode="json")
    content["parts"][1]["name"] = name
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    with pytest.raises(DataError, match="field parts: holds two parts of the name"):
        read_deployment(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "null", '{"system": 1', "\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(DataError) as caught:
        read_deployment(tmp_path)
    assert caught.value.where == str(tmp_path / FILE_NAME)
