import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.channels.coding.convolutional import GENERATORS, coded_length, decode, decoding, encode
from nsc_deploy.errors import DataError

messages = st.lists(st.integers(0, 1), max_size=40).map(lambda bits: np.array(bits, np.uint8))


def shifted_out(message):
    """The code from its definition: three sums modulo 2 over the newest bit and the six before it."""
    padded = [0] * 6 + message.tolist() + [0] * 6
    taps = [[int(place) for place in f"{generator:07b}"] for generator in GENERATORS]
    return [
        sum(tap * padded[t - back] for back, tap in enumerate(one)) % 2
        for t in range(6, len(padded))
        for one in taps
    ]


@settings(max_examples=50, deadline=None)
@given(messages)
def test_the_code_is_its_definition(message):
    coded = encode(message)
    assert len(coded) == coded_length(len(message))
    assert coded.tolist() == shifted_out(message)


@settings(max_examples=50, deadline=None)
@given(messages, st.data())
def test_seven_errors_anywhere_are_mended(message, data):
    # The free distance is 15: of any word with up to 7 errors the message sent is the nearest.
    coded = encode(message)
    for place in data.draw(st.sets(st.integers(0, len(coded) - 1), max_size=7)):
        coded[place] ^= 1
    assert decode(coded).tolist() == message.tolist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=39, max_size=39).map(lambda bits: np.array(bits, np.uint8)))
def test_no_message_is_nearer_than_the_one_decoded(received):
    # All 2^7 messages of 7 bits against a random word.
    every = (np.arange(128)[:, None] >> np.arange(7) & 1).astype(np.uint8)
    distances = [int((encode(one) != received).sum()) for one in every]
    assert int((encode(decode(received)) != received).sum()) == min(distances)


def test_bit_errors_left_are_those_of_the_code():
    # Of the literature's curve for hard decisions; 1e-3 of the bits at p = 0.09 and none at 0.03.
    chance = np.random.default_rng(0)
    message = chance.integers(0, 2, 200_000).astype(np.uint8)
    coded = encode(message)
    left = {}
    for p in (0.03, 0.09, 0.15):
        flipped = (chance.random(coded.size) < p).astype(np.uint8)
        left[p] = float((decode(coded ^ flipped) != message).mean())
    assert left[0.03] == 0
    assert 4e-4 < left[0.09] < 2e-3
    assert 0.04 < left[0.15] < 0.07


def test_what_decoding_takes():
    # A JPEG stream of about 5500 bits: 0.7 million additions.
    assert decoding(5500) == (2 * 64 * 5506, 64 * 5506)


@pytest.mark.parametrize("length", [0, 3, 15, 19, 20])
def test_refuses_what_is_no_coded_message(length):
    with pytest.raises(DataError, match="are no coded message"):
        decode(np.zeros(length, np.uint8))


@pytest.mark.peers
def test_sionna_has_the_same_code_and_decodes_as_near():
    sionna = pytest.importorskip("sionna.phy.fec.conv", reason="needs the extra coding")
    import torch

    polynomials = tuple(f"{generator:07b}" for generator in GENERATORS)
    encoder = sionna.ConvEncoder(gen_poly=polynomials, terminate=True)
    decoder = sionna.ViterbiDecoder(gen_poly=polynomials, terminate=True, method="hard")
    chance = np.random.default_rng(1)
    message = chance.integers(0, 2, (100, 300)).astype(np.uint8)
    coded = np.array([encode(one) for one in message])
    np.testing.assert_array_equal(encoder(torch.from_numpy(message).float()).numpy(), coded)
    for p in (0.05, 0.1, 0.15):
        received = coded ^ (chance.random(coded.shape) < p).astype(np.uint8)
        mine = np.array([decode(one) for one in received])
        theirs = decoder(torch.from_numpy(received).float()).numpy().astype(np.uint8)
        mine_off, theirs_off = (
            np.array([(encode(one) != word).sum() for one, word in zip(found, received, strict=True)])
            for found in (mine, theirs)
        )
        np.testing.assert_array_equal(mine_off, theirs_off)
        # Ties may break otherwise; where words differ they are equally near, as just shown.
        assert (mine != theirs).mean() < 0.01
