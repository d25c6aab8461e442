"""Experiments with features of images: a backbone that classifies, and codecs that send its features as bits.

A backbone is trained first, on its own; a codec is trained on the features of a finished run of one.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nsc_deploy.channels.config import BinaryChannelConfig, Erased
from nsc_deploy.config.section import Section, default_of
from nsc_deploy.data.image_config import ImageDataConfig
from nsc_deploy.errors import MisfitError
from nsc_deploy.io.records import WholeName

BackboneName = Literal["vgg16", "resnet50", "resnet10", "cnn8"]


class BackboneConfig(Section):
    """Which classifier, and where it is cut."""

    name: Literal["backbone"] = "backbone"
    """backbone: a classifier of images, alone"""
    backbone: BackboneName = "resnet10"
    """vgg16, resnet50 or resnet10 (32 x 32 pixels), or cnn8 (8 x 8 pixels)"""
    split: str | None = None
    """the last block that the device computes; not set: the backbone's own"""
    weights: WholeName | None = None
    """safetensors file of weights that are taken as they are: nothing is trained; not set: train"""
    weights_licence: str | None = None
    """licence of these weights, in the words of their author; the run keeps it"""


class BackboneTrainingConfig(Section):
    """How its weights are found: SGD with Nesterov's momentum and one cycle of the learning rate."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    """passes over the training part (1 to 100000)"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """samples of one step (1 to 65536)"""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.1
    """largest step size of the cycle (above 0)"""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """part of the steps over which the learning rate rises; over the others it falls to 0 (0 to 1)"""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Nesterov's momentum (0 to 1)"""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    """weight decay of convolutions and dense layers, not of normalisation and biases (0 to 1)"""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """part of each target that is spread evenly over the classes (0 to 1)"""
    crop_padding: Annotated[int, Field(ge=0, le=16)] = 4
    """augmentation: each training image is moved by up to this many pixels, either way (0 for none); the
    default is the data set's own"""
    flip: bool = True
    """augmentation: half of the training images are mirrored left and right; the default is the data set's
    own"""
    small_size: Annotated[int, Field(ge=8, le=64)] = 20
    """pixels of a side in the first epochs, if there are any on small images"""
    small_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """part of the epochs that train on small images, which are quicker (0 to 1)"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16: products in bfloat16; auto: where the processor has instructions for them; fp32"""
    validation_fraction: Annotated[float, Field(ge=0, lt=0.9)] = 0.04
    """part of each class cut from the training set to choose the epoch; codecs leave it out too (0 to 0.9)"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """seed of weights, data order, validation part and augmentation (0 to 2^31 - 1)"""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads; 0 takes what the machine offers and records the number in RUN/experiment.toml"""
    devices: ClassVar[int] = 1
    nodes: ClassVar[int] = 1

    @model_validator(mode="after")
    def _small_images_have_a_share(self) -> Self:
        if self.small_size != default_of(self, "small_size") and not self.small_share:
            raise MisfitError(
                "{small_size} is of small images, of which {small_share} is 0",
                "Leave {small_size} out, or set {small_share}.",
            )
        return self


_FOUND_IN_TRAINING = (
    "epochs", "batch_size", "learning_rate", "warmup", "momentum", "weight_decay", "label_smoothing",
    "small_size", "small_share", "precision",
)  # fmt: skip
"""What weights of others have no use for; their features may be augmented, and a validation part be cut."""
_OF_DIGITS: dict[str, object] = {"crop_padding": 1, "flip": False}
"""Augmentation in which the digits differ from the defaults: a mirrored digit is another sign."""


class BackboneExperiment(Section):
    """Everything that decides the outcome of training a backbone."""

    SYSTEMS: ClassVar[tuple[str, ...]] = ("backbone",)
    """The systems of this family."""

    system: BackboneConfig = BackboneConfig()
    data: ImageDataConfig = ImageDataConfig()
    training: BackboneTrainingConfig = BackboneTrainingConfig()

    @model_validator(mode="after")
    def _settled(self) -> Self:
        """Fill in the data set's own settings where none are given."""
        if self.data.dataset == "digits":
            missing = {name: _OF_DIGITS[name] for name in _OF_DIGITS.keys() - self.training.model_fields_set}
            object.__setattr__(self, "training", self.training.model_copy(update=missing))
        return self

    @model_validator(mode="after")
    def _licence_of_weights(self) -> Self:
        if self.system.weights_licence is not None and self.system.weights is None:
            raise ValueError("system.weights_licence is only used with system.weights")
        if self.system.weights is not None and not self.system.weights_licence:
            raise ValueError(
                "system.weights needs system.weights_licence: say under which licence these weights are, "
                "or 'none stated'"
            )
        return self

    @model_validator(mode="after")
    def _trains_with_its_settings(self) -> Self:
        for field in _FOUND_IN_TRAINING if self.system.weights is not None else ():
            if getattr(self.training, field) != default_of(self.training, field):
                raise ValueError(
                    f"training.{field} means nothing to weights of others, which are taken as they are: "
                    "leave it out"
                )
        return self


CodecName = Literal["snn-sc", "s-jscc", "cnn-sc", "cnn-1bit"]
_SPIKING_ALONE = ("last", "threshold", "slope", "reset", "target", "target_weight", "gain")
MOST_PLACES = 10
"""Bits of a value of cnn-sc: of more, the rounding of float32 decides the last ones."""


class CodecConfig(Section):
    """Which codec, and the backbone whose features it sends."""

    name: CodecName = "snn-sc"
    """snn-sc, s-jscc (spiking), cnn-sc (n-bit quantiser) or cnn-1bit (as many bits, each of one weight)"""
    backbone: WholeName | None = None
    """finished run of a backbone, required"""
    hidden: Annotated[int, Field(ge=0, le=65536)] = 0
    """filters between the two convolutions of a side; 0 for an eighth of the feature's channels"""
    bits: Annotated[int, Field(ge=0, le=65536)] = 0
    """channels of bits a step; 0 for a 64th of the feature's channels"""
    steps: Annotated[int, Field(ge=1, le=64)] = 8
    """n: time steps of a spiking codec (1 to 64), bits of a value of cnn-sc (1 to 10)"""
    last: Literal["ihf", "if", "ihf-m"] = "ihf"
    """spiking: what the converter is given of the last neurons: ihf (spikes and potentials), if (spikes) or
    ihf-m (potentials)"""
    threshold: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """spiking: firing threshold, in units of the input (above 0; where it is subtracted, a multiple of
    1/256)"""
    slope: Annotated[float, Field(gt=0, le=1e6)] = 4.0
    """spiking: of the sigmoid whose derivative stands for that of a spike (above 0)"""
    reset: Literal["subtract", "zero"] = "subtract"
    """spiking: what a spike does to the potential: subtract the threshold (the papers'), or zero"""
    target: Annotated[float | None, Field(ge=0, le=1)] = None
    """spiking: alpha, the entropy (snn-sc) or firing rate (s-jscc) that the loss asks for (0 to 1); not
    set: 1 and 0.5"""
    target_weight: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """spiking: weight of that term in the loss; 0 for none"""
    gray: bool = False
    """cnn-sc: Gray code in place of natural binary"""
    gain: Annotated[float | None, Field(gt=0, le=1e6)] = None
    """spiking: factor behind the converter's sigmoid; not set: 1, as the papers have it"""

    @property
    def spiking(self) -> bool:
        """Whether spiking neurons make its bits."""
        return self.name in {"snn-sc", "s-jscc"}

    @model_validator(mode="after")
    def _every_setting_counts(self) -> Self:
        of_others = () if self.spiking else _SPIKING_ALONE
        for field in of_others if self.name == "cnn-sc" else (*of_others, "gray"):
            if getattr(self, field) != default_of(self, field):
                raise MisfitError(f"{{{field}}} means nothing to {self.name}", f"Leave {{{field}}} out.")
        if self.target is not None and not self.target_weight:
            raise MisfitError(
                "{target} is what a term of the loss asks for whose {target_weight} is 0",
                "Leave {target} out.",
            )
        if self.gray and self.steps == 1:
            raise MisfitError("{gray} means nothing to a single bit, and {steps} is 1", "Leave {gray} out.")
        if self.name == "cnn-sc" and self.steps > MOST_PLACES:
            raise MisfitError(
                f"{{steps}} is {self.steps}, and a value of cnn-sc has {MOST_PLACES} bits at most: of more, "
                "the rounding of float32 decides the last ones",
                f"Set {{steps}} to {MOST_PLACES} or less.",
            )
        return self


class CodecTrainingConfig(Section):
    """How a codec is trained behind a finished backbone: alone first, then with what the server computes."""

    framework: Literal["snntorch", "norse"] = "snntorch"
    """which library's neurons train the spiking codecs: snntorch or norse"""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 50
    """passes over the training part with the codec alone (1 to 100000)"""
    tuning_epochs: Annotated[int, Field(ge=0, le=100_000)] = 50
    """passes after that with codec and server part together (0 to 100000)"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    """samples of one step (1 to 65536)"""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    """Adam's step size at the beginning, with the codec alone (above 0)"""
    tuning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-5
    """Adam's step size at the beginning of the passes together (above 0)"""
    halve_every: Annotated[int, Field(ge=0, le=100_000)] = 10
    """epochs after which the step size is halved, again and again (0 for never)"""
    precision: Literal["auto", "bf16", "fp32"] = "fp32"
    """bf16: products in bfloat16; auto: where the processor has instructions for them; fp32"""
    augmented_passes: Annotated[int, Field(ge=0, le=64)] = 0
    """features of so many augmented passes over the training part are kept and gone through in turn; 0: the
    features of the images as they are"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """seed of weights, data order and channel (0 to 2^31 - 1)"""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads; 0 takes what the machine offers and records the number in RUN/experiment.toml"""
    devices: ClassVar[int] = 1
    nodes: ClassVar[int] = 1

    @model_validator(mode="after")
    def _passes_together_have_a_rate(self) -> Self:
        if self.tuning_rate != default_of(self, "tuning_rate") and not self.tuning_epochs:
            raise MisfitError(
                "{tuning_rate} is of passes of codec and server part together, and {tuning_epochs} is 0",
                "Leave {tuning_rate} out.",
            )
        return self


class FeaturesExperiment(Section):
    """Everything that decides the outcome of training a codec for the features of a backbone."""

    SYSTEMS: ClassVar[tuple[str, ...]] = ("snn-sc", "s-jscc", "cnn-sc", "cnn-1bit")
    """The systems of this family."""

    system: CodecConfig = CodecConfig()
    data: ImageDataConfig = ImageDataConfig()
    channel: BinaryChannelConfig = BinaryChannelConfig()
    training: CodecTrainingConfig = CodecTrainingConfig()

    @model_validator(mode="after")
    def _has_a_backbone(self) -> Self:
        if self.system.backbone is None:
            raise ValueError(
                f"{self.system.name} needs a backbone: name a finished run of one with --backbone RUN, "
                "made by nsc-deploy train --system backbone"
            )
        return self

    @model_validator(mode="after")
    def _has_neurons_for_a_framework(self) -> Self:
        if not self.system.spiking and self.training.framework != "snntorch":
            raise ValueError(f"training.framework means nothing to {self.system.name}: leave it out")
        return self

    @model_validator(mode="after")
    def _reads_erased_bits(self) -> Self:
        if self.channel.erased is Erased.HALF and (self.system.spiking or self.system.gray):
            what = "Gray code" if self.system.gray else self.system.name
            raise ValueError(
                f"channel.erased is half, and {what} takes bits alone: leave it out, or choose cnn-sc or "
                "cnn-1bit"
            )
        return self
