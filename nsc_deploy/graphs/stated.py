"""Time step, reset and late edges of a graph: what its metadata state, and what the reader asks for.

NIR has a place for none of them. Nothing is guessed where a guess would change spikes, and nothing is asked
for where nothing depends on it.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.foreign.writers import Sign
from nsc_deploy.graphs.network import Reset
from nsc_deploy.io.text import shown


def time_step(
    metadata: Mapping[str, Any], asked: float | None, *, needed: bool, sign: Sign | None = None
) -> float | None:
    """Seconds a step.

    Args:
        metadata: of the graph.
        asked: by the reader.
        needed: whether anything in the graph depends on it.
        sign: which framework the graph looks like.

    Raises:
        GraphError: needed and not known, stated otherwise, or not a positive number.
    """
    stated = _number(metadata, "dt")
    if stated is not None and asked is not None and not math.isclose(stated, asked, rel_tol=1e-9):
        raise GraphError(
            f"the file states a time step of {stated:g} s, and {asked:g} s is given",
            remedy="Leave --dt out, take a recording with the step of the graph, or change the file.",
        )
    dt = asked if stated is None else stated
    if dt is None and needed:
        raise GraphError(
            "the file does not state its time step, and its neurons or delays depend on it",
            remedy="Name the step the network was trained with, in seconds: --dt 0.001"
            + (f"\nIt looks like a file of {sign.writer}: then give {sign.hint_dt}." if sign else ""),
        )
    if dt is not None and not (math.isfinite(dt) and dt > 0):
        raise GraphError(f"the time step is {dt}", remedy="It is a positive number of seconds.")
    return dt


def reset(
    metadata: Mapping[str, Any], asked: Reset | None, resetting: Iterable[Any], *, sign: Sign | None = None
) -> Reset | None:
    """How neurons reset; None where none does.

    A reset potential other than 0 leaves one possibility: there is none in a reset by subtraction.

    Args:
        metadata: of the graph.
        asked: by the reader.
        resetting: the checked `nir` nodes that reset.
        sign: which framework the graph looks like.

    Raises:
        GraphError: needed and not known, stated otherwise, unknown, or one step late.
    """
    nodes = list(resetting)
    if not nodes:
        return None
    if bool(np.any(metadata.get("reset_delay", False))):
        raise GraphError(
            "its neurons reset one step after the spike (reset_delay), which this tool cannot represent",
            remedy="Train with the reset in the step of the spike (snnTorch: reset_delay=False).",
        )
    stated = metadata.get("reset")
    if stated is None and asked is None:
        if any(np.any(node.v_reset) for node in nodes):
            return Reset.ZERO
        raise GraphError(
            "the file does not state how its neurons reset, and their spikes depend on it",
            remedy="Name it: --reset zero (to the reset potential) or --reset subtract (less the threshold)."
            + (f"\nIt looks like a file of {sign.writer}: then give {sign.hint_reset}." if sign else ""),
        )
    return _agreed(stated, asked)


def late_edges(metadata: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The (source, target) pairs that carry the step before, where the graph states them; else none.

    Which edge of a cycle is the late one follows from the order of the edges in a file, and a file written
    anew has another order; so a graph of this tool says it.

    Raises:
        GraphError: the entry is no list of pairs.
    """
    stated = metadata.get("late_edges", "[]")
    try:
        pairs = json.loads(stated)
        return frozenset((str(source), str(target)) for source, target in pairs)
    except (TypeError, ValueError, RecursionError) as error:
        raise GraphError(
            "its metadata 'late_edges' are no list of pairs", remedy="Take them out to have them chosen anew."
        ) from error


def _agreed(stated: Any, asked: Reset | None) -> Reset:
    try:
        how = Reset(str(asked if stated is None else stated))
    except ValueError as error:
        raise GraphError(f"the reset {shown(stated)} is neither zero nor subtract") from error
    if asked is not None and how is not asked:
        raise GraphError(
            f"the file states the reset '{how}' and '{asked}' was asked for", remedy="Leave --reset out."
        )
    return how


def _number(metadata: Mapping[str, Any], key: str) -> float | None:
    if key not in metadata:
        return None
    value = np.asarray(metadata[key])
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise GraphError(f"the metadata '{key}' is {shown(metadata[key])} where a number is wanted")
    return float(value.reshape(()))
