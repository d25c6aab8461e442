"""A graph as firmware, and whether it fits: flash and RAM used of what the data sheet states."""

from dataclasses import replace

from nsc_deploy.exporters.base import CheckResult
from nsc_deploy.exporters.c.code import Code, Piece
from nsc_deploy.exporters.c.controllers import Controller
from nsc_deploy.exporters.c.events import EventCode
from nsc_deploy.exporters.c.firmware import Firmware
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.memory import MemoryMap, map_memory
from nsc_deploy.exporters.c.qemu import DEFAULT_CPU
from nsc_deploy.exporters.c.target import DEFAULT_BITS
from nsc_deploy.exporters.chips.placement import Breach, Usage
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.readout import fewest_classes, readout_of


def fit(network: Network, controller: Controller, found: CheckResult) -> CheckResult:
    """Hold the memory of a graph against a microcontroller.

    Args:
        network: a graph that C can hold.
        controller: what there is.
        found: what was said of the nodes, and how many bits a weight has.

    Raises:
        ExportError: a limit that shows on the populations alone.
    """
    firmware = build_firmware(network, found.weight_bits or DEFAULT_BITS, controller)
    memory = firmware.memory
    least = memory.compiler is None
    pools = (
        Usage("flash", memory.flash_bytes, controller.flash_bytes, "bytes", at_least=least),
        Usage("RAM", memory.ram_bytes, controller.ram_bytes, "bytes", at_least=least),
    )
    notes = [f"memory and clock: {controller.source}"]
    if controller.note:
        notes.append(controller.note)
    if readout_of(network) is None and fewest_classes(network) is not None:
        notes.append(
            "no code that decides is counted: the graph names no classes (--classes, if its outputs vote)"
        )
    if least:
        notes.append("code and stack are not measured: there is no arm-none-eabi-gcc here")
    return replace(
        found,
        count_pools=lambda: pools,
        breaches=_breaches(memory, controller, narrower=not network.conventional),
        notes=tuple(notes),
        build_firmware=lambda: firmware,
    )


def build_firmware(network: Network, bits: int, controller: Controller | None) -> Firmware:
    """The code of a graph, with scales chosen on its weights alone, and its memory.

    Args:
        network: a graph that C can hold.
        bits: of a weight.
        controller: what it is for; None for any, whose memory is then that of a Cortex-M4.

    Raises:
        ExportError: a limit that shows on the populations alone.
    """
    code = _code(network, bits)
    memory = map_memory(code, DEFAULT_CPU if controller is None else controller.core)
    return Firmware(code, memory, controller)


def _code(network: Network, bits: int) -> Code:
    if network.conventional:
        from nsc_deploy.exporters.c.int8.code import code_of_size

        return code_of_size(network)
    program = lower_to_program(network, bits=bits).program
    classes, group = readout_of(network) or (None, None)
    return EventCode(lay_out(program, "network", classes=classes, group=group), network)


def _breaches(memory: MemoryMap, controller: Controller, *, narrower: bool) -> tuple[Breach, ...]:
    """What the memory has no room for; `narrower`: whether weights, in flash, may have fewer bits."""
    pieces = {"flash": memory.flash, "RAM": memory.ram}
    return tuple(
        Breach(
            rule=f"{one.memory} holds the network",
            where=controller.title,
            problem=str(one),
            hint=f"Most of it: {_largest(pieces[one.memory])}. Use "
            f"{'fewer bits a weight (--bits), ' if narrower and one.memory == 'flash' else ''}"
            "fewer neurons, or a larger part.",
            used=one.used,
            limit=one.there,
        )
        for one in controller.lacks(memory.flash_bytes, memory.ram_bytes)
    )


def _largest(pieces: tuple[Piece, ...]) -> str:
    one = max(pieces, key=lambda piece: piece.bytes)
    return f"{one.holds} of {one.layer}, {one.bytes:,} bytes"
