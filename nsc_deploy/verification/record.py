"""What a deployment says about the check that its export ended with."""

from typing import Literal

from pydantic import Field

from nsc_deploy.io.records import Record


class VerificationRecord(Record):
    """An artefact run beside the reference simulator, at the end of its export."""

    against: Literal["reference"] = "reference"
    backend: str = Field(description="what ran the artefact, with its version")
    inputs: Literal["recorded", "random"] = Field(description="random where nothing was recorded")
    seed: int | None = Field(default=None, description="of the random inputs")
    samples: int = Field(ge=1)
    steps: int = Field(ge=1)
    spikes: int = Field(ge=0, description="of every layer compared, in the reference")
    equal: bool = Field(description="whether every spike and every output value compared is equal")
    diverging_samples: int = Field(ge=0, description="samples in which a spike differs")
    tolerance: float | None = Field(
        default=None,
        description="where not equal: potentials at each first divergence lie this close, in units of the "
        "largest potential of the layer, so rounding explains the difference; None where nothing was asked",
    )
    coincidence: float | None = Field(default=None, ge=0, le=1, description="of output spikes")
    rate_cosine: float | None = Field(default=None, ge=-1, le=1)
    agreement: float | None = Field(default=None, ge=0, le=1, description="share of equal decisions")
    reference_accuracy: float | None = Field(default=None, ge=0, le=1)
    accuracy: float | None = Field(default=None, ge=0, le=1, description="of the artefact")

    @property
    def sentence(self) -> str:
        """For the terminal, one line."""
        what = f"{self.samples} {self.inputs} samples of {self.steps} steps in {self.backend}"
        if self.equal:
            return f"{what}: all {self.spikes} spikes are those of the reference simulator"
        if self.tolerance is not None:
            return (
                f"{what}: {self.diverging_samples} samples differ from the reference simulator, each first "
                f"where a potential lies within {self.tolerance:g} of its threshold (float32 rounding)"
            )
        share = "" if self.coincidence is None else f", {self.coincidence:.2%} of the output spikes coincide"
        return f"{what}: {self.diverging_samples} samples differ from the reference simulator{share}"
