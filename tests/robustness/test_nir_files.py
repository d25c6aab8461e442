"""Damaged, hostile and foreign NIR files: each ends in a message, soon, and never in a wrong result."""

import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import h5py
import nir
import numpy as np
import pytest

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats import nir as nir_files
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.nir import sealed as with_its_checksum
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.io import sandbox
from tests.support.speed import scaled

TEXT = h5py.string_dtype()
SOON = 2.0  # seconds of processor time, where the machine is no slower than usual


def a_graph():
    rng = np.random.default_rng(0)
    builder = GraphBuilder(0.03)
    builder.input(40, Signal.EVENTS)
    builder.linear("weights", rng.normal(size=(30, 40)))
    builder.lif("lif", 0.9, 0.3, 30)
    builder.output(30)
    return builder.build()


def be_patient(set_attribute):
    """Give whoever reads apart more processor time where the machine is slow."""
    set_attribute(sandbox, "_SECONDS", sandbox._SECONDS * scaled())


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    be_patient(monkeypatch.setattr)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "own.nir"
    write_network(path, a_graph())
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign") / "foreign.nir"
    nir.write(path, a_graph())
    return path


def mutated(content, chance):
    """Cut off, or with some bytes changed."""
    if chance.random() < 0.3:
        return content[: chance.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def read_anything(path):
    """Read a file and run it; a GraphError is an answer, any other exception is not."""
    started = time.process_time() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    try:
        network = read_network(path)
        output = simulate(network, np.ones((2, 1, *network.input_node.input_shape))).output
        assert np.isfinite(output).all() or network is None
    except GraphError as error:
        assert str(path) in str(error)
        output = None
    ended = time.process_time() + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert ended - started < SOON * scaled()
    return output


def test_no_mutation_of_an_own_file_passes(sealed, tmp_path):
    content, chance = sealed.read_bytes(), random.Random(0)
    intact, path = read_anything(sealed), tmp_path / "mutated.nir"
    refused = 0
    for _ in range(300):
        changed = mutated(content, chance)
        if not content.startswith(changed):  # a cut end is read by a process of its own: tried below
            path.write_bytes(changed)
            output = read_anything(path)
            refused += output is None
            assert output is None or np.array_equal(output, intact)
    assert refused > 150


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95, 0.999])
def test_a_cut_file_is_refused(sealed, tmp_path, share):
    content, path = sealed.read_bytes(), tmp_path / "cut.nir"
    path.write_bytes(content[: int(share * (len(content) - 83))])
    with pytest.raises(GraphError, match="HDF5"):
        read_network(path)


def read_mutations(content, path):
    """How many mutations are refused, and the most memory (KiB) that a process which read one took."""
    be_patient(setattr)
    chance, refused = random.Random(1), 0
    for _ in range(12):
        path.write_bytes(mutated(content, chance))
        refused += read_anything(path) is None
    return refused, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def test_mutations_of_a_foreign_file_end_soon_in_bounded_memory(foreign, tmp_path):
    """In a process of its own, which has no children of other tests."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as another:
        told = another.submit(read_mutations, foreign.read_bytes(), tmp_path / "mutated.nir")
    refused, peak = told.result()
    assert refused > 3
    assert 0 < peak < 3 * 2**20


@pytest.mark.slow
def test_a_thousand_mutations_of_a_foreign_file(foreign, tmp_path):
    content, chance, path = foreign.read_bytes(), random.Random(2), tmp_path / "mutated.nir"
    for _ in range(1000):
        path.write_bytes(mutated(content, chance))
        read_anything(path)


def replace(name, value, **options):
    def edit(stream):
        del stream[name]
        stream.create_dataset(name, data=value, **options)

    return edit


def delete(name):
    def edit(stream):
        del stream[name]

    return edit


def huge(name, shape, dtype):
    """A shape that claims far more than it holds."""

    def edit(stream):
        del stream[name]
        stream.create_dataset(name, shape=shape, dtype=dtype, chunks=(1024,) * len(shape), compression="gzip")

    return edit


def outside(stream):
    del stream["node/nodes/weights/weight"]
    stream["node/nodes/weights/weight"] = h5py.ExternalLink("/etc/passwd", "/weight")


def outside_data(stream):
    del stream["node/nodes/weights/weight"]
    stream["node/nodes/weights"].create_dataset(
        "weight", shape=(30, 40), dtype="f4", external=[("/etc/passwd", 0, 4800)]
    )


def soft_loop(stream):
    stream["node/nodes/loop"] = h5py.SoftLink("/node")


def hard_loop(stream):
    stream["node/nodes/loop"] = stream["node"]


def deep(stream):
    group = stream["node/nodes"]
    for _ in range(60):
        group = group.create_group("deeper")


def extra(stream):
    stream["node/nodes/lif/softness"] = 3.0


def many_names(stream):
    del stream["node/edges"]
    stream.create_dataset("node/edges", data=[["input"] * 3], dtype=TEXT)


WEIGHT = "node/nodes/weights/weight"
EDITS = {
    "no graph": (delete("node"), "holds no NIR graph"),
    "no nodes": (delete("node/nodes"), "not a NIR graph"),
    "no edges": (delete("node/edges"), "not a NIR graph"),
    "no type": (delete("node/nodes/lif/type"), "node 'lif'.*no NIR primitive"),
    "no tau": (delete("node/nodes/lif/tau"), "node 'lif'.*not a valid LIF"),
    "no weight": (delete(WEIGHT), "node 'weights'.*not a valid Linear"),
    "softmax": (
        replace("node/nodes/lif/type", "Softmax", dtype=TEXT),
        "node 'lif'.*'Softmax'.*Known: Affine",
    ),
    "base class": (replace("node/nodes/lif/type", "NIRNode", dtype=TEXT), "node 'lif'.*no NIR primitive"),
    "type as number": (replace("node/nodes/lif/type", 7), "node 'lif'.*no NIR primitive"),
    "extra field": (extra, "node 'lif'.*not a valid LIF"),
    "nan": (replace(WEIGHT, np.full((30, 40), np.nan)), "node 'weights'.*NaN"),
    "infinite": (replace("node/nodes/lif/v_threshold", np.full(30, np.inf)), "node 'lif'.*infinity"),
    "complex": (replace(WEIGHT, np.ones((30, 40), complex)), "neither numbers nor text"),
    "scalar weight": (replace(WEIGHT, 1.0), "node 'weights'"),
    "wrong shape": (replace(WEIGHT, np.ones((30, 41))), "node 'weights'.*takes in the shape"),
    "wrong size": (replace("node/nodes/lif/tau", np.ones(31)), "node 'lif'"),
    "empty": (replace("node/nodes/lif/tau", np.ones(0)), "node 'lif'"),
    "huge": (huge(WEIGHT, (2**24, 2**24), "f8"), "claims the shape"),
    "large": (huge(WEIGHT, (2**14, 2**14), "f8"), "does not hold that much"),
    "huge input": (replace("node/nodes/input/shape", np.array([2**40])), "impossible shape"),
    "negative input": (replace("node/nodes/input/shape", np.array([-40])), "impossible shape"),
    "link to a file": (outside, "never followed"),
    "data in a file": (outside_data, "never opened"),
    "soft loop": (soft_loop, "never followed"),
    "hard loop": (hard_loop, "inside itself"),
    "deep": (deep, "nested too deep"),
    "triples": (many_names, "pairs of names"),
    "edges as numbers": (replace("node/edges", np.ones((3, 2))), "pairs of names"),
    "unknown edge": (replace("node/edges", [["input", "gone"]], dtype=TEXT), "'gone', which is not there"),
    "no dt": (delete("node/metadata/dt"), "dt=0"),
    "no reset": (delete("node/metadata/reset"), "Name it: reset zero"),
    "dt nan": (replace("node/metadata/dt", np.nan), "time step"),
    "dt zero": (replace("node/metadata/dt", 0.0), "time step"),
    "dt long": (replace("node/metadata/dt", 10.0), "shorter than the time step"),
    "metadata as number": (replace("node/metadata", 1.0), "metadata"),
}


CASES = [(case, True) for case in EDITS] + [("huge", False), ("hard loop", False), ("no tau", False)]


@pytest.mark.parametrize(("case", "with_checksum"), CASES)
def test_edited_files_are_refused_by_name(foreign, tmp_path, case, with_checksum):
    edit, message = EDITS[case]
    path = tmp_path / "edited.nir"
    path.write_bytes(foreign.read_bytes())
    with h5py.File(path, "r+") as stream:
        edit(stream)
    if with_checksum:  # spares the process that tries unknown files; whoever is hostile can do it too
        path.write_bytes(with_its_checksum(path.read_bytes()))
    with pytest.raises(GraphError, match=f"(?s){message}") as caught:
        network = read_network(path)
        simulate(network, np.zeros((1, 1, 40)))
    if "dt long" not in case:
        assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n", b"hello" * 999, b"\x89HDF\r\n\x1a\n" + b"\xff" * 4096]
)
def test_what_is_no_hdf5_file_is_refused(tmp_path, content):
    path = tmp_path / "no.nir"
    path.write_bytes(content)
    with pytest.raises(GraphError, match="HDF5"):
        read_network(path)


def test_missing_files_folders_and_devices_are_refused(tmp_path):
    with pytest.raises(GraphError, match="No such file"):
        read_network(tmp_path / "missing.nir")
    with pytest.raises(GraphError, match="not a file"):
        read_network(tmp_path)


def test_a_foreign_copy_of_an_own_file_is_read(sealed, tmp_path):
    path = tmp_path / "copy.nir"
    nir.write(path, nir.read(sealed))
    network = read_network(path)
    assert (network.dt, network.reset) == (0.03, Reset.ZERO)


def test_the_command_line_says_it_in_one_message(foreign, tmp_path):
    path = tmp_path / "cut.nir"
    path.write_bytes(foreign.read_bytes()[:3000])
    command = [sys.executable, "-m", "nsc_deploy", "inspect", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {path}: is not a readable HDF5 file")
    assert "Traceback" not in ended.stderr
    assert not ended.stdout


def test_a_fork_that_dies_of_what_it_inherited_condemns_no_file(tmp_path, monkeypatch):
    path = tmp_path / "good.nir"
    write_network(path, a_graph())
    monkeypatch.setattr(nir_files, "_harmless", set())
    monkeypatch.setattr(sandbox, "_be_the_fork", lambda _path, _read, _writing: os._exit(0))
    assert read_network(path).node("weights").output_shape == (30,)


@pytest.fixture
def read_elsewhere(monkeypatch):
    """The files that were read in another process."""
    paths, read_apart = [], nir_files.read_apart
    monkeypatch.setattr(
        nir_files, "read_apart", lambda path, read: paths.append(path) or read_apart(path, read)
    )
    return paths


def test_what_this_process_wrote_is_read_here(tmp_path, read_elsewhere):
    write_network(tmp_path / "own.nir", a_graph())
    shutil.copy(tmp_path / "own.nir", tmp_path / "copy.nir")
    assert [read_network(tmp_path / name).dt for name in ("own.nir", "copy.nir")] == [0.03, 0.03]
    assert read_elsewhere == []


def test_a_sealed_file_is_read_elsewhere_once(tmp_path, monkeypatch, read_elsewhere):
    path = tmp_path / "own.nir"
    write_network(path, a_graph())
    monkeypatch.setattr(nir_files, "_harmless", set())
    assert [read_network(path).dt for _ in range(3)] == [0.03] * 3
    assert read_elsewhere == [path]


def test_a_damaged_file_with_a_seal_is_read_elsewhere(tmp_path, read_elsewhere):
    path = tmp_path / "hostile.nir"
    write_network(path, a_graph())
    path.write_bytes(with_its_checksum(path.read_bytes()[:3000]))
    for _ in range(2):
        with pytest.raises(GraphError, match="HDF5"):
            read_network(path)
    assert read_elsewhere == [path, path]


def test_a_file_of_another_tool_is_read_elsewhere_each_time(foreign, read_elsewhere):
    read_network(foreign)
    read_network(foreign)
    assert read_elsewhere == [foreign, foreign]


def test_a_graph_of_a_thousand_small_nodes_is_no_damaged_file(tmp_path, monkeypatch):
    """HDF5 takes a millisecond for each, so the time a file may take depends on its size."""
    monkeypatch.setattr(sandbox, "_SECONDS", 0.7)
    monkeypatch.setattr(sandbox, "_BYTES_PER_SECOND", sandbox._BYTES_PER_SECOND / scaled())
    path = tmp_path / "long.nir"
    builder = GraphBuilder(1e-3)
    builder.input(2, Signal.EVENTS)
    for number in range(1000):
        builder.linear(f"weights{number}", np.eye(2))
    builder.output(2)
    write_network(path, builder.build())
    assert len(read_network(path).nodes) == 1002
