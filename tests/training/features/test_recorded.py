"""Recorded images are of every class that has two, and no class of one stands in their way."""

import numpy as np

from nsc_deploy.data.images import ImageSet
from nsc_deploy.training.features.recorded import RECORDED, recorded
from tests.support.images import bar_data

SEED = 3


def part_of(labels: list[int]) -> ImageSet:
    pixels = np.zeros((len(labels), 1, 8, 8), np.uint8)
    return ImageSet(pixels, np.array(labels, np.int64))


def test_classes_have_their_share() -> None:
    found = recorded(bar_data(20, 20), part_of([0] * 300 + [1] * 100), SEED)
    assert np.bincount(found.labels).tolist() == [75, 25]


def test_a_class_of_a_single_image_is_left_out_of_a_large_part() -> None:
    found = recorded(bar_data(20, 20), part_of([0] * 150 + [3] + [1] * 150), SEED)
    assert set(found.labels.tolist()) == {0, 1}


def test_classes_of_one_each_are_recorded_as_they_come() -> None:
    found = recorded(bar_data(20, 20), part_of(list(range(150))), SEED)
    assert found.labels.tolist() == list(range(RECORDED))


def test_all_of_a_small_part_is_recorded() -> None:
    assert recorded(bar_data(20, 20), part_of([4]), SEED).labels.tolist() == [4]
