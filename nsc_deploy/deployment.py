"""What a training run hands on: which graph does what, on which side of the link, on chip or host."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from nsc_deploy.errors import DataError
from nsc_deploy.io.files import write_json
from nsc_deploy.io.records import Record, read_json_record

FILE_NAME = "deployment.json"
EXPORTED_GRAPHS = ("source.nir", "source.onnx")
"""In a deployment folder: the graph it was made from."""


class Side(StrEnum):
    """The end of the link a part runs at."""

    TRANSMITTER = "transmitter"
    RECEIVER = "receiver"


class Place(StrEnum):
    """What executes a part: an ordinary processor or a neuromorphic chip."""

    HOST = "host"
    CHIP = "chip"


_LONGEST_NAME = 150


def _in_its_folder(name: str) -> str:
    if name in {".", ".."} or len(name.encode(errors="replace")) > _LONGEST_NAME:
        raise ValueError(f"is no name of at most {_LONGEST_NAME} bytes of something in this folder")
    return name


FileName = Annotated[
    str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]+$", min_length=1), AfterValidator(_in_its_folder)
]
"""A file or folder beside the file that names it, never a path out: a run may come from somebody else."""


class Part(Record):
    """One graph of a system, with the inputs recorded for it on the test set.

    Parts of one side run in the order they are listed: the output of one is the input of the next.
    """

    name: FileName = Field(description="for example 'receiver' or 'receiver-front-end'; no other part has it")
    side: Side
    place: Place
    graph: FileName = Field(description="file name beside deployment.json, .nir or .onnx")
    recording: FileName = Field(description="file name of the recorded inputs, .npz")
    calibration: FileName | None = Field(
        default=None,
        description="file name of inputs recorded on training samples, .npz: what scales are chosen on",
    )
    description: str = ""
    flipped_samples: int = Field(
        default=0,
        ge=0,
        description="recorded samples in which neurons inside an ONNX graph fire, or bits that it quantises "
        "fall, otherwise than in torch: real values drive them, and rounding decided",
    )


class Readout(Record):
    """How the outputs of the last part become a decision.

    The outputs [steps, samples, classes * group] are averaged over steps and over each group of
    `group` consecutive outputs; the class with the largest mean wins, the first of equals.
    """

    classes: int = Field(ge=2)
    group: int = Field(ge=1)


class ChannelUse(Record):
    """What one sample costs on the channel."""

    kind: str = Field(description="awgn, rayleigh, rician, multipath, bsc or bec")
    snr_db: float | None = Field(default=None, description="None of a channel that carries bits")
    snr_to_db: float | None = Field(default=None, description="upper end, where each sample has its own")
    p: float | None = Field(
        default=None, ge=0, le=1, description="probability that a bit is flipped (bsc) or erased (bec)"
    )
    p_to: float | None = Field(default=None, ge=0, le=1, description="upper end, likewise")
    taps: int = Field(default=1, ge=1)
    uses_per_step: int = Field(
        ge=1,
        description="channel uses charged for one step, with the guard interval; bits of a bsc or bec; "
        "of a mask that follows the SNR the mean, rounded, and what tells its positions",
    )
    steps: int = Field(
        ge=1, description="1 where a sample is sent as a whole; of separate coding the mean, rounded"
    )


class SeparateCoding(Record):
    """Source and channel coding at both ends, whose operations no graph states."""

    source: Literal["deflate", "jpeg"] = Field(description="what compresses, in front of the channel code")
    message_bits: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        description="bits of each recorded sample that the convolutional code of rate 1/3 (K = 7) protects"
    )
    blocks: int = Field(default=0, ge=0, description="jpeg: blocks of 8 x 8 pixels of one sample")


class Deployment(Record):
    """Everything after training reads this and the files it names."""

    system: str
    receiver: str | None = Field(default=None, description="analog or event, for att-neurosc")
    dataset: str
    class_names: tuple[str, ...]
    dt: float = Field(gt=0, description="length of a step in seconds")
    channel: ChannelUse
    readout: Readout
    parts: tuple[Part, ...]
    coding: SeparateCoding | None = Field(default=None, description="of systems that code separately")
    test_accuracy: float = Field(
        ge=0,
        le=1,
        description="of the torch model on the test part, of which some samples may be recorded; of "
        "jpeg-conv on the recorded ones, without errors on the channel",
    )

    @field_validator("parts")
    @classmethod
    def _named_apart(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        names = [part.name.casefold() for part in parts]
        twice = next((part.name for part in parts if names.count(part.name.casefold()) > 1), None)
        if twice is not None:
            raise ValueError(f"holds two parts of the name {twice!r}")
        return parts


def write_deployment(run: Path, deployment: Deployment) -> None:
    """Write `run`/deployment.json."""
    write_json(run / FILE_NAME, deployment.model_dump(mode="json"))


def read_deployment(run: Path) -> Deployment:
    """Read `run`/deployment.json.

    Raises:
        DataError: the directory is not a finished run, or the file is damaged.
    """
    path = run / FILE_NAME
    if not path.is_file():
        raise without_graphs(run) or DataError(
            "holds no finished run (no deployment.json)",
            where=run,
            hint="Train one first: nsc-deploy train --help",
        )
    return read_json_record(
        Deployment,
        path,
        "a deployment",
        hint="Restore it from a copy, or delete metrics.json and write it anew: train --resume",
    )


def without_graphs(run: Path) -> DataError | None:
    """What to say of a finished run that holds no graph; None where it is no finished run."""
    if not (run / "metrics.json").is_file():
        return None
    return DataError(
        "is a finished run without graphs (no deployment.json): rivals that send text have none",
        where=run,
        hint="See what it reaches: nsc-deploy evaluate RUN. Where the file was lost, delete metrics.json and "
        "write both anew: train --resume",
    )


def graph_files(path: Path) -> tuple[Path, ...]:
    """The graphs that a path stands for: a file itself, those of a run, the one a deployment was made from.

    Raises:
        DataError: a folder that is none of both, or a damaged run.
    """
    if not path.is_dir():
        return (path,)
    exported = tuple(path / name for name in EXPORTED_GRAPHS if (path / name).is_file())
    if exported:
        return exported
    return tuple(path / part.graph for part in read_deployment(path).parts)
