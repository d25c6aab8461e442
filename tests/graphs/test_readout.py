import nir
import numpy as np
import pytest

from nsc_deploy.errors import ConfigError, DataError, GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.readout import decide, fewest_classes, readout_of, scores, with_readout


def test_groups_vote_and_the_first_of_equals_wins():
    outputs = np.zeros((4, 3, 6), np.float32)
    outputs[0, 0, 5] = outputs[2, 0, 4] = outputs[1, 0, 0] = 1  # class 2 twice, class 0 once
    outputs[:, 1, 2] = 1
    outputs[:, 1, 1] = 1  # classes 0 and 1 alike
    assert decide(outputs, classes=3, group=2).tolist() == [2, 0, 0]
    assert scores(outputs, classes=3, group=2)[0].tolist() == [1 / 8, 0, 2 / 8]
    assert decide(outputs, classes=6, group=1).tolist() == [0, 1, 0]


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match=r"3 \* 2"):
        decide(np.zeros((4, 3, 5)), classes=3, group=2)


def silent():
    build = GraphBuilder(1e-3)
    build.input(2, Signal.EVENTS)
    build.linear("w", np.ones((6, 2)))
    build.lif("lif", 0.5, 1.0, 6)
    build.output(6)
    return assemble(build.build())


def test_a_graph_that_does_not_say_how_decisions_are_read_can_be_told(tmp_path):
    network = silent()
    assert with_readout(network, None) is network
    told = with_readout(network, 3)
    assert told.output_node.parameters.metadata == {"classes": 3, "group": 2}
    assert "classes" not in network.output_node.parameters.metadata
    write_network(tmp_path / "told.nir", told)
    metadata = read_network(tmp_path / "told.nir").output_node.parameters.metadata
    assert (int(metadata["classes"]), int(metadata["group"])) == (3, 2)
    assert with_readout(told, 3).output_node.parameters.metadata == {"classes": 3, "group": 2}
    with pytest.raises(ConfigError, match="says that it has 3 classes"):
        with_readout(told, 2)
    with pytest.raises(ConfigError, match="6 outputs cannot be shared out among 4"):
        with_readout(network, 4)


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        *(({"classes": it}, "is .* where a whole number") for it in ("ten", np.nan, np.inf, 3.5, 0, -3)),
        ({"classes": np.array([2, 3])}, "where a whole number"),
        ({"classes": 3, "group": "two"}, "metadata 'group' is"),
        ({"classes": 4}, "state 4 classes, which 6 outputs cannot"),
        ({"classes": 3, "group": 3}, "state 3 classes of 3 outputs each, which 6 outputs"),
    ],
)
def test_classes_that_outputs_cannot_vote_for_are_refused(metadata, problem):
    network = silent()
    network.output_node.parameters.metadata.update(metadata)
    with pytest.raises(GraphError, match=problem) as caught:
        readout_of(network)
    assert caught.value.where == "node 'output'"


@pytest.mark.parametrize("classes", [3.0, np.float32(3), np.array(3), np.array([3])])
def test_classes_may_be_any_whole_number(classes):
    network = silent()
    network.output_node.parameters.metadata["classes"] = classes
    assert readout_of(network) == (3, 2)
    assert with_readout(network, 3) is not None


@pytest.mark.parametrize(
    ("shape", "known", "classes"),
    [((12,), 4, 4), ((12,), 5, 6), ((12,), 1, 1), ((3,), 4, None), ((3, 4), 3, None)],
)
def test_the_fewest_classes_that_outputs_could_vote_for(
    shape: tuple[int, ...], known: int, classes: int | None
) -> None:
    for spikes in (True, False):
        build = GraphBuilder(0.01)
        build.input(shape, Signal.EVENTS)
        build.threshold("n", 0.5, shape)
        if not spikes:
            build.add("s", nir.Scale(np.full(shape, 2, np.float32)))
        build.output(shape)
        assert fewest_classes(assemble(build.build()), known) == (classes if spikes else None)
