"""How potentials reach the converter, priced: in a table of its own, and in no column."""

from io import StringIO

import pytest
from rich.console import Console

from nsc_deploy.energy import Estimate, estimate
from nsc_deploy.energy.output.terminal import print_report
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.models.features.codecs import LastNeuron
from tests.support.feature_systems import system, write_run

OUTPUTS = 16 * 2 * 3
STEPS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", system(steps=STEPS))


@pytest.fixture(scope="module")
def priced(run):
    return estimate(run)


def test_the_first_way_is_what_the_columns_hold_already(priced):
    (found,) = priced.report.systems
    host = next(part for part in found.parts if part.name == "receiver-host")
    as_counted = found.potentials[0]
    for column, energy in as_counted.energy.items():
        lines = [layer.energy[column] for layer in host.layers[: host_lines(host)]]
        assert energy.mean_uj == pytest.approx(sum(one.mean_uj for one in lines))
    assert as_counted.host.macs == as_counted.values_leaving == STEPS * OUTPUTS
    for column, energy in found.energy.items():
        assert energy.mean_uj == pytest.approx(sum(part.energy[column].mean_uj for part in found.parts))


def host_lines(host):
    """Lines of the host up to where both sums are joined."""
    names = [layer.primitive for layer in host.layers]
    return names.index("Add") + 1


def test_each_way_costs_its_operations_at_their_prices(priced):
    ways = {one.way: one for one in priced.report.systems[0].potentials}
    summed, again, once = (ways[name] for name in ("running-sum", "by-events", "at-once"))
    ac, mac, addition = 0.9e-6, 4.6e-6, 0.9e-6
    assert summed.energy["compute"].mean_uj == pytest.approx(STEPS * OUTPUTS * mac + summed.chip.acs * ac)
    assert again.energy["compute"].mean_uj == pytest.approx(again.host.acs * ac + OUTPUTS * addition)
    assert once.energy["compute"].mean_uj == pytest.approx(
        once.host.acs * ac + once.host.macs * mac + OUTPUTS * addition
    )
    assert [one.values_leaving for one in (summed, again, once)] == [OUTPUTS, 0, 0]
    assert again.events_leaving == once.events_leaving == once.host.acs > 0
    assert "ann" not in summed.energy
    for one in ways.values():
        assert one.energy["memory"].mean_uj > one.energy["compute"].mean_uj


def test_chip_and_host_each_have_their_own_prices(run):
    own = estimate(run, profile="horowitz-45nm", host_profile="arm-cortex-a").report.systems[0].potentials
    same = estimate(run).report.systems[0].potentials
    differ = [
        a.energy["compute"].mean_uj != b.energy["compute"].mean_uj for a, b in zip(own, same, strict=True)
    ]
    assert differ == [True, False, True, True]
    chip = estimate(run, profile="loihi").report.systems[0].potentials
    assert chip[1].energy["compute"].unpriced == ("macs",)


def test_all_three_forms_name_them(priced, tmp_path):
    text = StringIO()
    print_report(priced.report, Console(file=text, width=200))
    data, page = (file.read_text() for file in priced.write(tmp_path))
    assert Report.model_validate_json(data).systems[0].potentials == priced.report.systems[0].potentials
    for written in (" ".join(text.getvalue().split()), page):
        assert "how potentials reach the converter" in written
        assert "What leaves the chip is counted and not priced" in written
        for one in priced.report.systems[0].potentials:
            assert one.way in written
            assert one.meaning in written.replace("&#39;", "'")


def test_systems_without_potentials_have_no_such_table(tmp_path):
    report = estimate(write_run(tmp_path / "run", system(last=LastNeuron.IF))).report
    assert report.systems[0].potentials == ()
    text = StringIO()
    print_report(report, Console(file=text, width=200))
    assert "potentials reach" not in text.getvalue()
    page = Estimate(report).write(tmp_path / "page")[1].read_text()
    assert "potentials reach" not in page
