import numpy as np
import torch

from nsc_deploy.training.features.augmentation import crop_and_flip, normalised, resized


def test_crops_are_windows_of_the_reflected_image():
    images = torch.arange(2 * 3 * 6 * 5, dtype=torch.uint8).reshape(2, 3, 6, 5)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    places = set()
    for seed in range(60):
        moved = crop_and_flip(images, 2, torch.Generator().manual_seed(seed), flip=False).numpy()
        for sample in range(2):
            fitting = [
                (row, column)
                for row in range(5)
                for column in range(5)
                if (padded[sample, :, row : row + 6, column : column + 5] == moved[sample]).all()
            ]
            assert fitting
            places.add(fitting[0])
    assert len(places) > 15


def test_half_of_the_images_are_mirrored():
    images = torch.arange(4, dtype=torch.uint8).expand(1000, 1, 1, 4)
    flipped = crop_and_flip(images, 0, torch.Generator().manual_seed(0), flip=True)[:, 0, 0, 0] == 3
    assert 450 < int(flipped.sum()) < 550


def test_the_same_seed_makes_the_same_batch():
    images = torch.randint(0, 255, (8, 3, 8, 8), dtype=torch.uint8)
    first, second = (crop_and_flip(images, 3, torch.Generator().manual_seed(5), flip=True) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, images)


def test_pixels_are_normalised_channel_by_channel():
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 2, 3, 3)
    found = normalised(images, (0.5, 0.25), (0.5, 0.25))
    assert found[:, :, 0, 0].tolist() == [[-1.0, -1.0], [1.0, 3.0]]


def test_small_images_keep_their_mean():
    image = torch.full((1, 2, 32, 32), 0.7)
    assert torch.allclose(resized(image, 20), torch.full((1, 2, 20, 20), 0.7))
    assert resized(image, 32) is image
