import numpy as np
import pytest

from nsc_deploy.data.image_config import ImageDataConfig
from nsc_deploy.data.images import ImageData, ImageSet, load_images, split_validation
from nsc_deploy.errors import DataError
from tests.support.images import bar_data, bars


def test_the_digits_are_split_once_for_all():
    pytest.importorskip("sklearn", reason="needs scikit-learn (pip install 'nsc-deploy[images]')")
    data = load_images(ImageDataConfig(dataset="digits"))
    assert (len(data.train), len(data.test), data.shape) == (1438, 359, (1, 8, 8))
    assert data.sha256() == load_images(ImageDataConfig(dataset="digits")).sha256()
    pixels = np.concatenate([data.train.pixels, data.test.pixels]) / 255
    assert np.allclose(pixels.mean(), data.mean, atol=1e-4)
    assert np.allclose(pixels.std(), data.deviation, atol=1e-4)


def test_validation_takes_the_same_share_of_each_class():
    rest, held_out = split_validation(bars(80), 0.25, seed=3)
    assert np.bincount(held_out.labels).tolist() == [5, 5, 5, 5]
    assert np.bincount(rest.labels).tolist() == [15, 15, 15, 15]
    again = split_validation(bars(80), 0.25, seed=3)[1]
    assert np.array_equal(held_out.pixels, again.pixels)


def test_the_digest_tells_parts_apart():
    data = bar_data(20, 8)
    swapped = ImageData(data.test, data.train, data.class_names, data.mean, data.deviation)
    assert data.sha256() != swapped.sha256()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (ImageSet(np.zeros((0, 1, 8, 8), np.uint8), np.zeros(0, np.int64)), bars(4)),
        (bars(4), ImageSet(bars(4).pixels, np.array([0, 1, 2, 4]))),
        (bars(4), ImageSet(np.zeros((4, 1, 7, 8), np.uint8), np.zeros(4, np.int64))),
    ],
)
def test_parts_that_make_no_data_set_are_refused(train: ImageSet, test: ImageSet):
    with pytest.raises(DataError):
        ImageData(train, test, tuple("abcd"), (0.0,), (1.0,))
