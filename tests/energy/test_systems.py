"""Systems on disk, counted: what a microcontroller is given of a run, and folders of C."""

from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.energy.sources import find_sources
from nsc_deploy.energy.systems import Options, count_source
from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import GraphOptions, write_network
from nsc_deploy.graphs.formats.recording import read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.c_graphs import needs_compiler, needs_qemu
from tests.support.int8 import graph, write_inputs
from tests.support.small_runs import DT, event_run, events


@needs_qemu
def test_a_receiver_on_a_microcontroller_has_its_comparators_with_it(tmp_path: Path) -> None:
    run = event_run(tmp_path / "run")
    options = Options(target=load_target("c:stm32l432"), samples=2)
    found = count_source(find_sources([run])[0], options)
    sender, front, receiver = found.placed
    assert front is None
    assert sender is not None
    assert receiver is not None
    assert receiver.run is not None
    recorded = read_recording(run / "receiver-front-end.npz").values[:, :2]
    np.testing.assert_array_equal(receiver.run.values, recorded)
    layers = receiver.run.layers
    assert layers["cross"].min() > 0  # the comparators
    assert {"cross", "lif1", "lif2"} <= {one.layer for one in receiver.run.firmware.memory.flash}
    # The counts stay those of the parts as they stand in the run.
    assert [part.name for part in found.parts] == ["transmitter", "receiver-front-end", "receiver"]


@needs_compiler
@pytest.mark.parametrize("kind", ["dense", "gru"])
def test_a_conventional_folder_counts_the_products_of_its_graph(kind: str, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "in.npz", kind, 2, 8)
    (out,) = export_all(
        graph(tmp_path, kind), "c", tmp_path / "out", inputs=inputs, graph=GraphOptions(classes=3)
    )
    found = count_source(find_sources([out])[0], Options())
    alone = count_source(find_sources([tmp_path / f"{kind}.onnx"], [out / "inputs.npz"])[0], Options())
    assert [layer.synops.sum() for layer in found.parts[0].layers] == [
        layer.synops.sum() for layer in alone.parts[0].layers
    ]
    assert found.firmware is not None
    assert found.measured_accuracy is not None


def test_a_graph_of_two_inputs_is_named_among_others(tmp_path: Path) -> None:
    builder = GraphBuilder(DT)
    for name in ("a", "b"):
        builder.input(4, Signal.EVENTS, name=name)
    builder.lif("lif", 0.9, 0.5, 4, after=["a", "b"])
    builder.output(4)
    write_network(tmp_path / "two.nir", builder.build())
    write_recording(tmp_path / "in.npz", events(4))
    [source] = find_sources([tmp_path / "two.nir"], [tmp_path / "in.npz"])
    with pytest.raises(GraphError, match=r"two\.nir: has 2 inputs \([ab], [ab]\)"):
        count_source(source, Options())
