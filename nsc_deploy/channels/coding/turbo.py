"""The turbo code of rate 1/3 with blocks of 256 bits, decoded by max-log-MAP with scaled extrinsic values.

Two recursive convolutional encoders of eight states see the message, the second one interleaved; three bits
drive each of them to zero at the end. A block of 256 bits becomes 256 systematic bits, twice 256 parity bits
and twelve tail bits: 780.

Sources: generators 13 and 15 (octal), interleaver i -> 15 i + 32 i^2 mod 256 and tails of 3GPP TS 36.212,
5.1.3.2 and table 5.1.3-3; Berrou, Glavieux and Thitimajshima, ICC 1993; extrinsic values times 3/4 as in Vogt
and Finger, "Improving the max-log-MAP turbo decoder", Electronics Letters 36(23), 2000.
"""

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.kernels import called_often, kernel

Bits = NDArray[np.uint8]
Ratios = NDArray[np.float32]

BLOCK = 256
MEMORY = 3
STATES = 2**MEMORY
TAILS = 4 * MEMORY
CODED = 3 * BLOCK + TAILS
ITERATIONS = 8
_FIRST, _SECOND = 15, 32


def encode(messages: Bits) -> Bits:
    """The coded bits [N, 780] of messages [N, 256] of 0 and 1.

    A block is its message, the parities of the first and of the second encoder [256 each], then three pairs
    of (tail bit, its parity) of the first encoder and three of the second.

    Raises:
        DataError: messages of another length.
    """
    if messages.ndim != 2 or messages.shape[1] != BLOCK:
        raise DataError(f"messages of shape {messages.shape} are no blocks of {BLOCK} bits")
    coded = np.empty((len(messages), CODED), np.uint8)
    _encode(np.ascontiguousarray(messages, np.uint8), interleaver(), coded)
    return coded


def decode(ratios: Ratios, iterations: int = ITERATIONS) -> Bits:
    """The messages [N, 256] that received blocks most likely are.

    A block is finished early when both of its decoders agree on all bits.

    Args:
        ratios: log P(bit = 0) / P(bit = 1) of each coded bit [N, 780], in the order of `encode`.
        iterations: at most, of both decoders.

    Raises:
        DataError: blocks of another length.
    """
    if ratios.ndim != 2 or ratios.shape[1] != CODED:
        raise DataError(f"received values of shape {ratios.shape} are no blocks of {CODED}")
    messages = np.empty((len(ratios), BLOCK), np.uint8)
    after, parity = _trellis()
    ratios = np.ascontiguousarray(ratios, np.float32)
    _decode(ratios, interleaver(), after, parity, iterations, messages)
    return messages


def interleaver() -> NDArray[np.int64]:
    """Which bit of the message is the i-th that the second encoder sees [256]."""
    place = np.arange(BLOCK, dtype=np.int64)
    order: NDArray[np.int64] = (_FIRST * place + _SECOND * place * place) % BLOCK
    return order


@kernel
def _encode(messages: Bits, order: NDArray[np.int64], coded: Bits) -> None:
    for block in range(messages.shape[0]):
        for place in range(256):
            coded[block, place] = messages[block, place]
        for encoder in range(2):
            state = 0
            for place in range(256 + 3):
                feedback = ((state >> 1) ^ state) & 1
                bit = feedback
                if place < 256:
                    bit = messages[block, order[place] if encoder else place]
                newest = bit ^ feedback
                parity = newest ^ (state >> 2) ^ (state & 1)
                state = (newest << 2) | (state >> 1)
                if place < 256:
                    coded[block, 256 * (1 + encoder) + place] = parity
                else:
                    tail = 3 * 256 + 6 * encoder + 2 * (place - 256)
                    coded[block, tail] = bit
                    coded[block, tail + 1] = parity


@kernel
def _decode(
    ratios: Ratios,
    order: NDArray[np.int64],
    after: NDArray[np.int64],
    parity: NDArray[np.int64],
    iterations: int,
    messages: Bits,
) -> None:
    systematic = np.empty((2, 259), np.float32)
    redundant = np.empty((2, 259), np.float32)
    known = np.empty((2, 256), np.float32)
    found = np.empty(256, np.float32)
    ahead = np.empty((260, 8), np.float32)
    behind = np.empty((2, 8), np.float32)
    decided = np.zeros((2, 256), np.uint8)
    for block in range(ratios.shape[0]):
        _take_apart(ratios[block], order, systematic, redundant)
        known[:] = 0
        for _ in range(iterations):
            for encoder in range(2):
                said, check, told = systematic[encoder], redundant[encoder], known[encoder]
                _look_ahead(said, check, told, after, parity, ahead)
                _weigh(said, check, told, after, parity, ahead, behind, found)
                for place in range(256):
                    decided[encoder, order[place] if encoder else place] = 1 if found[place] < 0 else 0
                    # What one decoder learnt from the code is what the other one is told.
                    found[place] = (found[place] - said[place] - told[place]) * np.float32(0.75)
                for place in range(256):
                    if encoder:
                        known[0, order[place]] = found[place]
                    else:
                        known[1, place] = found[order[place]]
            if (decided[0] == decided[1]).all():
                break
        messages[block] = decided[1]


def _trellis() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The state that each bit leads to from each state, and the parity it makes: [8, 2] each."""
    after = np.empty((8, 2), np.int64)
    parity = np.empty((8, 2), np.int64)
    for state in range(8):
        for bit in range(2):
            newest = bit ^ (((state >> 1) ^ state) & 1)
            parity[state, bit] = newest ^ (state >> 2) ^ (state & 1)
            after[state, bit] = (newest << 2) | (state >> 1)
    return after, parity


@called_often
def _take_apart(ratios: Ratios, order: NDArray[np.int64], systematic: Ratios, redundant: Ratios) -> None:
    """What each of the two decoders sees of a block [780]: [2, 259] each."""
    for encoder in range(2):
        for place in range(256):
            systematic[encoder, place] = ratios[order[place] if encoder else place]
            redundant[encoder, place] = ratios[256 * (1 + encoder) + place]
        for place in range(3):
            tail = 3 * 256 + 6 * encoder + 2 * place
            systematic[encoder, 256 + place] = ratios[tail]
            redundant[encoder, 256 + place] = ratios[tail + 1]


@called_often
def _look_ahead(
    said: Ratios,
    check: Ratios,
    told: Ratios,
    after: NDArray[np.int64],
    parity: NDArray[np.int64],
    ahead: Ratios,
) -> None:
    """Backwards, the weight of the best path from each state to the end: `ahead` [260, 8]."""
    for state in range(8):
        ahead[259, state] = np.float32(-1e30)
    ahead[259, 0] = 0
    half = np.float32(0.5)
    for place in range(258, -1, -1):
        bit = said[place] * half
        if place < 256:
            bit += told[place] * half
        mate = check[place] * half
        for state in range(8):
            zero = bit + (-mate if parity[state, 0] else mate) + ahead[place + 1, after[state, 0]]
            one = (-mate if parity[state, 1] else mate) - bit + ahead[place + 1, after[state, 1]]
            ahead[place, state] = max(zero, one)


@called_often
def _weigh(
    said: Ratios,
    check: Ratios,
    told: Ratios,
    after: NDArray[np.int64],
    parity: NDArray[np.int64],
    ahead: Ratios,
    behind: Ratios,
    found: Ratios,
) -> None:
    """Forwards, the best path to each state; with `ahead`, how much a bit is rather 0 than 1: `found`."""
    far, half = np.float32(-1e30), np.float32(0.5)
    for state in range(8):
        behind[0, state] = far
    behind[0, 0] = 0
    for place in range(256):
        now, later = place & 1, (place + 1) & 1
        for state in range(8):
            behind[later, state] = far
        bit, mate = (said[place] + told[place]) * half, check[place] * half
        best_zero, best_one = far, far
        for state in range(8):
            zero = behind[now, state] + bit + (-mate if parity[state, 0] else mate)
            one = behind[now, state] - bit + (-mate if parity[state, 1] else mate)
            to_zero, to_one = after[state, 0], after[state, 1]
            behind[later, to_zero] = max(behind[later, to_zero], zero)
            behind[later, to_one] = max(behind[later, to_one], one)
            best_zero = max(best_zero, zero + ahead[place + 1, to_zero])
            best_one = max(best_one, one + ahead[place + 1, to_one])
        found[place] = best_zero - best_one
