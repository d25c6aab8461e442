"""Which images to load: the `[data]` table of an experiment with features."""

from typing import Literal, Self

from pydantic import ConfigDict, model_validator

from nsc_deploy.errors import MisfitError
from nsc_deploy.io.records import Record, WholePath

ImageDataset = Literal["cifar100", "digits"]


class ImageDataConfig(Record):
    """A data set of images."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    dataset: ImageDataset = "cifar100"
    """cifar100 (32 x 32 colour, 100 classes) or digits (8 x 8 grey, 10 classes, from scikit-learn)"""
    path: WholePath | None = None
    """cifar100: file or folder of the set; not set: $NSC_DEPLOY_DATA, then what `data fetch` filled"""

    @model_validator(mode="after")
    def _path_is_used(self) -> Self:
        if self.dataset == "digits" and self.path is not None:
            raise MisfitError(
                "{path} is not used: the digits come with scikit-learn, from no file of yours",
                "Leave {path} out, or choose {dataset} cifar100.",
            )
        return self
