"""Operations of separate source and channel coding, which a host does at both ends and no graph states.

- Viterbi's decoder of 64 states: in each step two additions and a comparison for each state, whose path costs
  are read twice and written once.
- JPEG, at either end: an 8-point cosine transform of 11 multiplications and 29 additions (Loeffler,
  Ligtenberg and Moschytz, ICASSP 1989) for each of 16 rows and columns of a block, and a multiplication for
  each of its 64 coefficients.

Left out: the parities of the encoder, look-ups of branch costs, the way back through the decisions, the
bit-by-bit work of Huffman's code, and DEFLATE.
"""

import numpy as np

from nsc_deploy.channels.coding.convolutional import STATES, decoding
from nsc_deploy.deployment import Place, SeparateCoding, Side
from nsc_deploy.energy.counting.operations import (
    Footprint,
    Integers,
    LayerCount,
    Operations,
    PartCount,
    Traffic,
)
from nsc_deploy.graphs.network import Signal

LINES = 16
"""Rows and columns of a block that are transformed."""
COEFFICIENTS = 64
PRODUCTS_OF_BLOCK = 11 * LINES + COEFFICIENTS
ADDITIONS_OF_BLOCK = 29 * LINES
LEFT_OUT = (
    "Left out of coding on hosts: Huffman's code, DEFLATE, parities, look-ups, and the way back through the "
    "decoder's decisions. Comparisons are counted and, as everywhere, not priced."
)


def count_coding(coding: SeparateCoding, side: Side, samples: int, dt: float) -> PartCount:
    """What one end does for the first so many recorded samples.

    Args:
        coding: of a run.
        side: the transmitter compresses, the receiver decodes.
        samples: as many as are counted of its other parts.
        dt: seconds of its only step.
    """
    bits = np.asarray(coding.message_bits[:samples], np.int64)
    layers = []
    if side is Side.RECEIVER:
        layers.append(_viterbi(bits))
    if coding.source == "jpeg":
        layers.append(_jpeg(coding.blocks, side, len(bits)))
    return PartCount(
        name=f"{side}-coding",
        side=side,
        place=Place.HOST,
        steps=1,
        samples=len(bits),
        dt=dt,
        spiking=False,
        layers=tuple(layers),
    )


def _viterbi(bits: Integers) -> LayerCount:
    operations = [decoding(int(length)) for length in bits]
    additions = np.asarray([one.additions for one in operations], np.int64)
    comparisons = np.asarray([one.comparisons for one in operations], np.int64)
    return _layer(
        "viterbi",
        "Viterbi",
        {"additions": additions, "activations": comparisons},
        {"state_reads": additions, "state_writes": comparisons},
        Footprint(states=2 * STATES),
    )


def _jpeg(blocks: int, side: Side, samples: int) -> LayerCount:
    each = np.full(samples, blocks, np.int64)
    moved = each * COEFFICIENTS
    return _layer(
        "jpeg" if side is Side.TRANSMITTER else "jpeg-inverse",
        "JPEG",
        {"products": each * PRODUCTS_OF_BLOCK, "additions": each * ADDITIONS_OF_BLOCK},
        {"activation_reads": moved, "activation_writes": moved},
        Footprint(activations=blocks * COEFFICIENTS),
    )


def _layer(
    name: str,
    primitive: str,
    operations: dict[str, Integers],
    traffic: dict[str, Integers],
    footprint: Footprint,
) -> LayerCount:
    samples = len(next(iter(operations.values())))
    counts = Operations(**(_nothing(Operations, samples) | operations))
    return LayerCount(
        name=name,
        primitive=primitive,
        arrives=Signal.REAL,
        neurons=0,
        synapses=0,
        dense=0,
        per_sample=counts,
        traffic=Traffic(**(_nothing(Traffic, samples) | traffic)),
        footprint=footprint,
        steps=1,
        per_step=Operations(*(values.sum(keepdims=True) for values in counts.arrays())),
        synops=np.zeros((1, samples), np.int64),
    )


def _nothing(kind: type[Operations] | type[Traffic], samples: int) -> dict[str, Integers]:
    return dict(vars(kind.zeros(samples)))
