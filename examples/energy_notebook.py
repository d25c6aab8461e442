"""Energy in a notebook: count a run, price it, hold it to a budget, place it on a chip, look where to save.

    python examples/energy_notebook.py RUN [OTHER_RUN]

Editors open the cells of this file as a notebook; there every result shows as a table.
"""

# %%
import sys
from typing import Any

from nsc_deploy.energy import Budget, count, estimate

IN_A_NOTEBOOK = "ipykernel" in sys.modules
runs = ["runs/event"] if IN_A_NOTEBOOK else sys.argv[1:]


def show(table: Any) -> None:
    """A table, whole."""
    if IN_A_NOTEBOOK:
        globals()["display"](table)
    else:
        print(table.to_string(), end="\n\n")


# %% Count every operation, exactly, and follow the spikes over a chip.
counted = count(runs[0], target="loihi1")
show(counted.to_pandas())

# %% Price the counts: four accountings.
priced = estimate(counted, profile="horowitz-45nm")
show(priced.to_pandas().pivot_table(index=["part", "layer"], columns="column", values="mean_uj"))
report = priced.report
print(f"{report.systems[0].energy['memory'].mean_uj:.3g} uJ a sample, with memory")

# %% On the chip: messages, hops, time of a step.
on_chip = estimate(counted, profile="loihi")
show(on_chip.chip_to_pandas())

# %% A budget, as CI checks it.
budget = Budget.model_validate(
    {"over": "worst", "limits": {"synops_per_inference": 5_000_000, "spikes_per_inference": 50_000}}
)
checked = counted.check(budget)
show(checked.to_pandas())

# %% Where to save: each change is made and measured.
advice = counted.advise()
show(advice.to_pandas().head())

# %% What changed since another build.
if len(runs) > 1:
    other = estimate(runs[1])
    show(priced.compare(other).to_pandas())
    show(other.check_against(priced, tolerance=0.05).to_pandas())

# %% The whole report as JSON and HTML.
print(*priced.write("energy-report"))
