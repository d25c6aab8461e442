import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.coding.convolutional import decode, encode
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.models.features.jpeg import JpegCodec, _read, grid, picture_shape, tiled, untiled

SHAPE = (64, 4, 4)
CODEC = JpegCodec(SHAPE)


def feature(seed=0, shape=SHAPE):
    """Sparse maps as behind a ReLU, each smooth."""
    chance = np.random.default_rng(seed)
    return np.maximum(chance.normal(size=(shape[0], 1, 1)) * 8 + chance.normal(size=shape), 0).astype(
        np.float32
    )


def over(p, sent, seed=0):
    channel = BinaryChannel(BinaryChannelConfig(p=p))
    return CODEC.send(sent, channel, torch.Generator().manual_seed(seed))


def test_the_pictures_of_the_papers_features():
    assert grid(2048) == (32, 64)
    assert picture_shape((2048, 4, 4)) == (128, 256)
    assert picture_shape((512, 2, 2)) == (32, 64)
    assert grid(7) == (1, 7)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_tiles_come_back_and_a_map_stays_together(channels, height, width):
    maps = np.random.default_rng(0).integers(0, 256, (channels, height, width)).astype(np.uint8)
    picture = tiled(maps)
    assert np.array_equal(untiled(picture, maps.shape), maps)
    assert np.array_equal(picture[:height, :width], maps[0])


def test_few_errors_are_mended_and_every_bit_is_counted():
    whole = feature()
    sent = CODEC.compress(whole)
    clean, noisy = over(0.0, [sent]), over(0.02, [sent])
    assert np.array_equal(clean.features, noisy.features)
    assert not noisy.failed.any()
    assert np.abs(clean.features[0] - whole).mean() < 0.1 * whole.std()
    stream = np.packbits(decode(sent.coded)).tobytes()
    assert (stream[:2], stream[-2:]) == (b"\xff\xd8", b"\xff\xd9"), "from its first marker to its last"
    assert sent.bits == 3 * (8 * len(stream) + 6) + 64


def test_a_lower_quality_takes_fewer_bits():
    assert JpegCodec(SHAPE, quality=10).compress(feature()).bits < CODEC.compress(feature()).bits


def test_where_nothing_is_left_features_are_zero_and_failures_counted():
    sent = [CODEC.compress(feature(seed)) for seed in range(6)]
    restored = over(0.4, sent)
    assert restored.failed.all()
    assert not restored.features.any()


def test_a_feature_of_one_value_comes_back():
    flat = np.full(SHAPE, 3.5, np.float32)
    np.testing.assert_allclose(over(0.0, [CODEC.compress(flat)]).features[0], flat, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 4, 5), (1024, 32, 32)])
def test_a_picture_of_another_size_is_a_failure(shape):
    other = JpegCodec(shape).compress(feature(shape=shape) if shape[0] == 64 else np.zeros(shape, np.float32))
    assert CODEC.restore(other, other.coded) is None


def damaged(stream, seed):
    chance, hit = np.random.default_rng(seed), bytearray(stream)
    for place in chance.integers(0, len(hit), 12):
        hit[place] ^= int(chance.integers(1, 256))
    return bytes(hit)


def restore(sent, stream):
    return CODEC.restore(sent, encode(np.unpackbits(np.frombuffer(stream, np.uint8))))


def test_a_damaged_picture_may_still_be_one():
    sent = CODEC.compress(feature())
    stream = np.packbits(decode(sent.coded)).tobytes()
    assert 0 < sum(restore(sent, damaged(stream, seed)) is not None for seed in range(40)) < 40


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_whatever_arrives_nothing_but_a_picture_or_a_failure_comes_of_it(junk, seed):
    sent = CODEC.compress(feature())
    stream = np.packbits(decode(sent.coded)).tobytes()
    for content in (junk, damaged(stream, seed)):
        found = restore(sent, content)
        assert found is None or found.shape == SHAPE


def test_a_header_that_claims_a_giant_picture_is_no_picture_and_no_warning(recwarn: pytest.WarningsRecorder):
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    place = content.index(b"\xff\xc0") + 5  # height and width of the frame
    content[place : place + 4] = (12000).to_bytes(2) + (9000).to_bytes(2)
    assert _read(bytes(content), (16, 16)) is None
    assert not recwarn.list
