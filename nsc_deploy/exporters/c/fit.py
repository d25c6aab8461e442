"""Whether a graph fits a microcontroller: flash and RAM used of what its data sheet states."""

from dataclasses import replace

from nsc_deploy.exporters.base import CheckResult
from nsc_deploy.exporters.c.controllers import Controller
from nsc_deploy.exporters.c.firmware import Firmware
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.memory import MemoryMap, Piece, map_memory
from nsc_deploy.exporters.chips.placement import Breach, Usage
from nsc_deploy.graphs.network import Network


def fit(network: Network, controller: Controller, found: CheckResult) -> CheckResult:
    """Hold the memory of a graph against a microcontroller.

    Args:
        network: a graph that C can hold.
        controller: what there is.
        found: what was said of the nodes, and how many bits a weight has.

    Raises:
        ExportError: a limit that shows on the populations alone.
    """
    program = lower_to_program(network, bits=found.weight_bits or 8).program
    metadata = network.output_node.parameters.metadata
    classes = metadata.get("classes")
    layout = lay_out(program, "network", classes=None if classes is None else int(classes))
    memory = map_memory(layout, controller.core)
    least = memory.compiler is None
    pools = (
        Usage("flash", memory.flash_bytes, controller.flash_bytes, "bytes", at_least=least),
        Usage("RAM", memory.ram_bytes, controller.ram_bytes, "bytes", at_least=least),
    )
    notes = [f"memory and clock: {controller.source}"]
    if controller.note:
        notes.append(controller.note)
    if least:
        notes.append("code and stack are not measured: there is no arm-none-eabi-gcc here")
    return replace(
        found,
        count_pools=lambda: pools,
        breaches=_breaches(memory, controller),
        notes=tuple(notes),
        firmware=Firmware(layout, network, memory, controller),
    )


def _breaches(memory: MemoryMap, controller: Controller) -> tuple[Breach, ...]:
    needs = (
        ("flash", memory.flash_bytes, controller.flash_bytes, memory.flash),
        ("RAM", memory.ram_bytes, controller.ram_bytes, memory.ram),
    )
    return tuple(
        Breach(
            rule=f"{name} holds the network",
            where=controller.title,
            problem=f"{used:,} bytes of {name} are needed, {there:,} are there",
            hint=f"Most of it: {_largest(pieces)}. Use fewer bits a weight, fewer neurons, or a larger part.",
            used=used,
            limit=there,
        )
        for name, used, there, pieces in needs
        if used > there
    )


def _largest(pieces: tuple[Piece, ...]) -> str:
    one = max(pieces, key=lambda piece: piece.bytes)
    return f"{one.holds} of {one.layer}, {one.bytes:,} bytes"
