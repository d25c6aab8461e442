"""What a deployment says about the check that its export ended with."""

from typing import Literal, Self

from pydantic import Field

from nsc_deploy.io.records import Record
from nsc_deploy.verification.compare import Comparison


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

    @classmethod
    def of(
        cls, found: Comparison, *, backend: str, seed: int | None = None, tolerance: float | None = None
    ) -> Self:
        """What a comparison with the reference simulator found.

        Args:
            found: the reference is its first run.
            backend: what ran the artefact, with its version.
            seed: of random inputs; None where they were recorded.
            tolerance: that explains every difference; None where none was asked.
        """
        decisions = found.decisions
        return cls(
            backend=backend,
            inputs="recorded" if seed is None else "random",
            seed=seed,
            samples=found.samples,
            steps=found.steps,
            spikes=sum(layer.reference_spikes or 0 for layer in found.layers),
            equal=found.equal,
            diverging_samples=found.diverging_samples,
            tolerance=None if found.equal else tolerance,
            coincidence=found.output.coincidence,
            rate_cosine=found.output.rate_cosine,
            agreement=None if decisions is None else decisions.agreement,
            reference_accuracy=None if decisions is None else decisions.reference_accuracy,
            accuracy=None if decisions is None else decisions.other_accuracy,
        )

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
