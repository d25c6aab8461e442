"""What is not published of a chip or its prices is a third answer, in budgets, reports and their text."""

from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.energy import check, count, estimate
from nsc_deploy.energy.output.headline_table import headline_tables, reasons
from nsc_deploy.energy.pricing.price import PriceBook
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.energy.report.budget import Budget, check_budget
from nsc_deploy.energy.report.quantity import Quantity
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Reset, Signal

BUDGET = Budget.model_validate({"limits": {"fits": True, "energy_uj": 1.0}})


def written(folder: Path, build: GraphBuilder, shape: tuple[int, ...]) -> dict[str, Path]:
    write_network(folder / "net.nir", build.build())
    values = np.random.default_rng(0).random((6, 3, *shape)) < 0.4
    write_recording(folder / "net.npz", Recording(values.astype(np.uint8), Signal.EVENTS, 1e-3))
    return {"graph": folder / "net.nir", "inputs": folder / "net.npz"}


@pytest.fixture
def pooled(tmp_path: Path) -> dict[str, Path]:
    build = GraphBuilder(1e-3)
    build.input((1, 4, 4), Signal.EVENTS)
    build.add("pool", nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])))
    build.add("flat", nir.Flatten(input_type={"input": np.array([1, 2, 2])}, start_dim=0, end_dim=-1))
    build.linear("dense", np.ones((3, 4)) / 2)
    build.lif("cells", 0.5, 1.0, 3)
    build.output(3)
    return written(tmp_path, build, (1, 4, 4))


@pytest.fixture
def subtracting(tmp_path: Path) -> dict[str, Path]:
    build = GraphBuilder(1e-3, Reset.SUBTRACT)
    build.input(4, Signal.EVENTS)
    build.linear("dense", np.ones((3, 4)) / 2)
    build.lif("cells", 0.5, 1.0, 3)
    build.output(3)
    return written(tmp_path, build, (4,))


def test_whether_a_graph_fits_may_not_be_published(subtracting: dict[str, Path]) -> None:
    graph, inputs = subtracting.values()
    result = check(graph, BUDGET, inputs=inputs, target="loihi2")
    fits, energy = sorted(result.findings, key=lambda one: one.quantity != "fits")
    assert (fits.passed, fits.value, fits.not_published) == (None, None, True)
    assert "node 'cells' resets by 'subtract'" in fits.why
    assert "none that does has been published" in fits.why
    assert (energy.passed, energy.not_published) == (True, False)
    assert not result.passed
    assert "?     fits       not published" in result.as_text()
    report = estimate(graph, inputs=inputs, target="loihi2").report
    figure = report.systems[0].headline[Quantity.FITS]
    assert (figure.worst, figure.not_published) == (None, True)
    cells = [cell for table in headline_tables(report) for row in table.rows for cell in row.cells]
    assert "loihi2: not published" in cells
    assert any("none that does has been published" in one for one in reasons(report))
    refused = check(graph, BUDGET, inputs=inputs, target="loihi1").findings
    assert [one.passed for one in refused if one.quantity == "fits"] == [False]


def test_a_pooled_layer_without_a_price_is_not_published(pooled: dict[str, Path]) -> None:
    graph, inputs = pooled.values()
    (system,) = count(graph, inputs=inputs, target="loihi1").systems
    result = check_budget([system], PriceBook(load_profile("loihi")), BUDGET)
    (energy,) = result.unanswered
    assert energy.not_published
    assert "no price for additions of net/pool: not published (the sum of a pool" in energy.why
    (system,) = estimate(graph, inputs=inputs, profile="loihi").report.systems
    unpriced = {layer.name: layer.energy["compute"].unpriced for layer in system.parts[0].layers}
    assert unpriced == {"pool": ("additions",), "dense": ("macs",), "cells": ()}
    assert "uJ, the rest not published" in result.as_text()
    assert [one.passed for one in result.findings if one.quantity == "fits"] == [True]
