import pytest
import torch

from nsc_deploy.errors import ConfigError
from nsc_deploy.models.features.backbones import ARCHITECTURES, build_backbone


@pytest.mark.parametrize(
    ("name", "feature", "parameters"),
    [
        ("vgg16", (512, 2, 2), 34_015_396),
        ("resnet50", (2048, 4, 4), 23_705_252),
        ("resnet10", (512, 4, 4), 3_376_388),
        ("cnn8", (64, 4, 4), 62_404),
    ],
)
def test_sizes_are_those_of_the_papers(name: str, feature: tuple[int, int, int], parameters: int):
    with torch.device("meta"):
        backbone = build_backbone(name, 100)
        scores = backbone.eval()(torch.zeros(2, *backbone.image))
        assert backbone.device_part(torch.zeros(2, *backbone.image)).shape[1:] == feature
    assert scores.shape == (2, 100)
    assert sum(one.numel() for one in backbone.parameters()) == parameters


def test_the_vgg16_split_lies_behind_the_tenth_convolution():
    with torch.device("meta"):
        device = build_backbone("vgg16", 100).device_part
    assert sum(isinstance(one, torch.nn.Conv2d) for one in device.modules()) == 10


def test_the_resnet50_split_lies_behind_the_first_block_of_the_last_stage():
    with torch.device("meta"):
        backbone = build_backbone("resnet50", 100)
        before = build_backbone("resnet50", 100, "block13").device_part(torch.zeros(1, 3, 32, 32))
    assert backbone.split == "block14"
    assert before.shape == (1, 1024, 8, 8)


@pytest.mark.parametrize("split", [None, "conv1", "conv3"])
def test_device_and_server_together_are_the_backbone(split: str | None):
    backbone = build_backbone("cnn8", 10, split).eval()
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(backbone(images), backbone.server_part(backbone.device_part(images)))


def test_weights_do_not_depend_on_the_split():
    one, other = build_backbone("cnn8", 10), build_backbone("cnn8", 10, "conv1")
    other.load_state_dict(one.state_dict())
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(one.eval()(images), other.eval()(images))


def test_asking_for_the_feature_changes_nothing():
    backbone = build_backbone("cnn8", 10)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert backbone.feature_shape() == (64, 4, 4)
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("split", ["conv9", "mean", "scores", ""])
def test_a_split_that_does_not_exist_is_refused_with_those_that_do(split: str):
    if not split:
        assert build_backbone("cnn8", 10, split).split == ARCHITECTURES["cnn8"].split
        return
    with pytest.raises(ConfigError, match=f"no block {split}") as found:
        build_backbone("cnn8", 10, split)
    assert "conv1, pool1, conv2, conv3" in str(found.value.hint)


def test_a_backbone_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean resnet10"):
        build_backbone("resnet18", 10)
