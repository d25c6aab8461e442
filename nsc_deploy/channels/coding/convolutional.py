"""The convolutional code of rate 1/3 and constraint length 7, decoded by Viterbi's algorithm.

A register holds the newest bit and the six before it; each of three outputs is the parity of the register
under a generator. Six zeros end a message, so that both ends of the path through the 64 states are known.

Sources: the generators 133, 171, 165 (octal) of 3GPP TS 36.212, 5.1.3.1, with a free distance of 15;
A. J. Viterbi, "Error bounds for convolutional codes", IEEE Trans. Inf. Theory 13(2), 1967.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.kernels import kernel

Bits = NDArray[np.uint8]

GENERATORS = (0o133, 0o171, 0o165)
"""The highest bit of a generator meets the newest bit of the register."""
MEMORY = 6
STATES = 2**MEMORY
RATE = len(GENERATORS)


def coded_length(length: int) -> int:
    """Bits on the channel for a message of `length` bits: its bits and the tail, three for each."""
    return RATE * (length + MEMORY)


class Operations(NamedTuple):
    """Integer operations of a decoder."""

    additions: int
    comparisons: int


def decoding(length: int) -> Operations:
    """What it takes to decode a message of `length` bits, the look-up of branch costs and memory left out.

    In each step two additions and a comparison for each of the 64 states.
    """
    steps = length + MEMORY
    return Operations(2 * STATES * steps, STATES * steps)


def encode(message: Bits) -> Bits:
    """The coded bits [3 (L + 6)] of a message [L] of 0 and 1."""
    coded = np.empty(coded_length(len(message)), np.uint8)
    _encode(np.ascontiguousarray(message, np.uint8), _outputs(), coded)
    return coded


def decode(received: Bits) -> Bits:
    """The message [L] whose coded bits differ in the fewest places from those received [3 (L + 6)].

    Where several are as near, one of them.

    Raises:
        DataError: no message has so many coded bits.
    """
    length, rest = divmod(len(received), RATE)
    if rest or length < MEMORY:
        raise DataError(f"{len(received)} bits are no coded message: they are three times 6 or more")
    message = np.empty(length - MEMORY, np.uint8)
    symbols = received.reshape(-1, RATE) @ np.array([4, 2, 1], np.uint8)
    _decode(symbols.astype(np.uint8), _costs(), np.empty(length, np.uint64), message)
    return message


def _outputs() -> NDArray[np.uint8]:
    """The three output bits of each register, the first generator's the highest: [128]."""
    registers = np.arange(2 * STATES, dtype=np.uint8)
    bits = [np.bitwise_count(registers & generator) & 1 for generator in GENERATORS]
    outputs: NDArray[np.uint8] = (bits[0] << 2 | bits[1] << 1 | bits[2]).astype(np.uint8)
    return outputs


def _costs() -> NDArray[np.int32]:
    """Places in which three received bits differ from the outputs of each register: [8, 128]."""
    wrong = np.bitwise_count(np.arange(8, dtype=np.uint8)[:, None] ^ _outputs())
    costs: NDArray[np.int32] = wrong.astype(np.int32)
    return costs


@kernel
def _encode(message: Bits, outputs: NDArray[np.uint8], coded: Bits) -> None:
    register = 0
    for t in range(coded.size // 3):
        newest = message[t] if t < message.size else 0
        register = (register >> 1) | (newest << 6)
        for place in range(3):
            coded[3 * t + place] = (outputs[register] >> (2 - place)) & 1


@kernel
def _decode(
    symbols: NDArray[np.uint8], costs: NDArray[np.int32], decisions: NDArray[np.uint64], message: Bits
) -> None:
    """Forwards the least cost of a path to each state, backwards along the decisions.

    Args:
        symbols: three received bits each [steps].
        costs: as `_costs` gives them.
        decisions: filled [steps]: in bit s, which of its two predecessors the path to state s comes from.
        message: filled [steps - 6].
    """
    unreached = np.int32(2**29)
    before = np.full(STATES, unreached, np.int32)
    before[0] = 0
    after = np.empty(STATES, np.int32)
    chosen = np.empty(STATES, np.uint64)
    for t in range(symbols.size):
        cost = costs[symbols[t]]
        for state in range(STATES // 2):
            # The register is the state and the bit that leaves it; two new bits lead from a pair of states.
            even, odd = before[2 * state], before[2 * state + 1]
            for newest in range(2):
                to = state + newest * (STATES // 2)
                zero, one = even + cost[2 * to], odd + cost[2 * to + 1]
                after[to] = min(zero, one)
                chosen[to] = np.uint64(one < zero)
        packed = np.uint64(0)
        for state in range(STATES):
            packed |= chosen[state] << np.uint64(state)
        decisions[t] = packed
        before, after = after, before
    state = 0
    for t in range(symbols.size - 1, -1, -1):
        if t < message.size:
            message[t] = state >> 5
        left = (decisions[t] >> np.uint64(state)) & np.uint64(1)
        state = ((state << 1) & (STATES - 1)) | int(left)
