"""Manifests keep what was told of a graph.

The copy in a deployment folder states its step and reset and is believed, so it shows no such thing itself.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from nsc_deploy.diagnostics import Caution, announce
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.records import Record


class Warned(Record):
    """What a manifest says of the program that wrote its graph."""

    warnings: tuple[Caution, ...] = Field(
        default=(),
        description="what looked like faults of the program that wrote the graph; left out if none",
    )

    @model_serializer(mode="wrap")
    def _nothing_of_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Versions that knew no warnings read a manifest that has none."""
        written: dict[str, Any] = serialize(self)
        if not self.warnings:
            written.pop("warnings", None)
        return written


def warned(network: Network, warnings: Iterable[Caution]) -> Network:
    """The graph of a deployment with the warnings of its manifest, which are told to whoever listens."""
    kept = tuple(dict.fromkeys((*warnings, *network.cautions)))
    announce(kept)
    return replace(network, cautions=kept)
