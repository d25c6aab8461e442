"""Parts of a system on a target: with the front end that goes along, and ONNX graphs where it takes them."""

from typing import TYPE_CHECKING

from nsc_deploy.energy.counting.on_chip import PlacedPart
from nsc_deploy.energy.sources import Work
from nsc_deploy.errors import ConfigError, ExportError, GraphError
from nsc_deploy.exporters.base import CheckResult, Target
from nsc_deploy.graphs.formats.nir import GraphOptions
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.passes.verdict import Status, Verdict

if TYPE_CHECKING:
    from nsc_deploy.exporters.c.firmware import Firmware, FirmwareRun


def place_network(
    work: Work, network: Network, recording: Recording, target: Target
) -> tuple[PlacedPart, Recording]:
    """A NIR part on a target, with the part in front of it where an export takes both along.

    Args:
        work: the part.
        network: its graph.
        recording: its inputs.
        target: where to.

    Returns:
        It there, not yet run, and what enters.
    """
    whole, along = network, None
    if work.part is not None and getattr(target, "takes_samples", False):
        from nsc_deploy.exporters.export import with_front_end

        run = work.graph.parent
        whole, front = with_front_end(
            network, run, work.part.name, target, GraphOptions(), lambda _line: None
        )
        if front is not None:
            along = front.name
            recording = read_recording(run / front.recording).first(recording.samples)
    return PlacedPart(target, target.check(whole), along=along), recording


def place_conventional(
    work: Work,
    recording: Recording,
    target: Target,
    options: GraphOptions,
    readout: tuple[int, int] | None,
) -> PlacedPart | None:
    """An ONNX graph on a target that takes them, also one of a host; None on another.

    Args:
        work: the part.
        recording: its inputs.
        target: where to.
        options: what the file may leave open.
        readout: classes, and outputs that vote for each, of the part that a run decides by.
    """
    if not getattr(target, "takes_onnx", False):
        return None
    from nsc_deploy.exporters.export import read_conventional

    file = work.recording if work.inputs_given is None else None
    try:
        found = target.check(read_conventional(work.graph, target, options, file, readout))
    except (ConfigError, ExportError, GraphError) as error:
        # What is counted may still have no form on the target as a whole.
        refused = Verdict(work.graph.name, "ONNX", Status.REFUSED, error.problem, error.hint or "")
        found = CheckResult((refused,))
    return PlacedPart(target, found, run=firmware_run(found.firmware, recording))


def firmware_run(firmware: "Firmware | None", recording: Recording) -> "FirmwareRun | None":
    """Recorded samples on the code of a microcontroller, where a target has made some."""
    if firmware is None:
        return None
    from nsc_deploy.exporters.c.firmware import FirmwareRun

    return FirmwareRun(firmware, recording.values)
