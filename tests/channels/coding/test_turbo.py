import numpy as np
import pytest
from scipy.stats import binom

from nsc_deploy.channels.coding.turbo import BLOCK, CODED, decode, encode, interleaver
from nsc_deploy.errors import DataError


def _blocks(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (count, BLOCK)).astype(np.uint8)


def _slow_parity(bits):
    """The feedback register by its polynomials: 1 + D + D^3 over 1 + D^2 + D^3."""
    register = [0, 0, 0]
    parities, tails = [], []
    for bit in [*bits, None, None, None]:
        feedback = register[1] ^ register[2]
        given = feedback if bit is None else int(bit)
        newest = given ^ feedback
        parity = newest ^ register[0] ^ register[2]
        register = [newest, register[0], register[1]]
        if bit is None:
            tails += [given, parity]
        else:
            parities.append(parity)
    assert register == [0, 0, 0]
    return parities, tails


def test_the_code_is_its_definition():
    [message] = _blocks(1)
    [coded] = encode(message[None])
    first, tail = _slow_parity(message)
    second, tail_of_second = _slow_parity(message[interleaver()])
    np.testing.assert_array_equal(coded, [*message, *first, *second, *tail, *tail_of_second])
    assert len(coded) == CODED == 780


def test_the_interleaver_is_a_permutation():
    assert sorted(interleaver()) == list(range(BLOCK))
    assert interleaver()[:4].tolist() == [0, 47, 158, 77]


def test_without_noise_nothing_is_lost():
    messages = _blocks(20)
    ratios = (4 - 8.0 * encode(messages)).astype(np.float32)
    np.testing.assert_array_equal(decode(ratios), messages)


def test_erased_bits_are_found_again():
    messages = _blocks(20)
    ratios = (4 - 8.0 * encode(messages)).astype(np.float32)
    ratios[np.random.default_rng(1).random(ratios.shape) < 0.5] = 0
    np.testing.assert_array_equal(decode(ratios), messages)


@pytest.mark.parametrize(("snr_db", "expected"), [(-3.9, 0.1), (-3.5, 0.013)])
def test_blocks_are_lost_as_often_as_such_a_code_loses_them(snr_db, expected):
    """BPSK over AWGN: 10 % and 1 % of blocks, within what 500 blocks can tell apart from them."""
    count, power = 500, 10 ** (-snr_db / 10)
    messages = _blocks(count, seed=2)
    noise = np.random.default_rng(3).normal(0, np.sqrt(power / 2), (count, CODED))
    ratios = (4 / power * (1 - 2.0 * encode(messages) + noise)).astype(np.float32)
    lost = int((decode(ratios) != messages).any(1).sum())
    low, high = binom.ppf([1e-4, 1 - 1e-4], count, expected)
    assert low <= lost <= high


def test_blocks_of_another_length_are_refused():
    with pytest.raises(DataError, match="no blocks of 256 bits"):
        encode(np.zeros((2, 255), np.uint8))
    with pytest.raises(DataError, match="no blocks of 780"):
        decode(np.zeros((2, 768), np.float32))


@pytest.mark.peers
def test_sionna_codes_alike_and_decodes_no_better():
    """Sionna orders bit by bit, and its max-log decoder does not scale what its halves tell each other."""
    torch = pytest.importorskip("torch")
    turbo = pytest.importorskip("sionna.phy.fec.turbo")
    peer = turbo.TurboEncoder(rate=1 / 3, constraint_length=4, terminate=True, interleaver_type="3GPP")
    messages = _blocks(300, seed=4)
    streams = np.arange(3 * BLOCK).reshape(3, BLOCK).T.reshape(-1)
    order = np.concatenate([streams, np.arange(3 * BLOCK, CODED)])
    theirs = peer(torch.from_numpy(messages).float()).numpy()
    np.testing.assert_array_equal(theirs, encode(messages)[:, order])
    power = 10**0.38
    noise = np.random.default_rng(5).normal(0, np.sqrt(power / 2), theirs.shape)
    ratios = (4 / power * (1 - 2.0 * encode(messages) + noise[:, np.argsort(order)])).astype(np.float32)
    decoder = turbo.TurboDecoder(peer, num_iter=8, algorithm="maxlog")
    found = decoder(torch.from_numpy(-ratios[:, order])).numpy()
    lost = (found != messages).any(1).sum()
    assert (decode(ratios) != messages).any(1).sum() <= lost + 3 * np.sqrt(lost + 1)
