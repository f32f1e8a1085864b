"""The shell's ``benchmark``: every family on a file of events."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from physgen.benchmarking import benchmark as run
from physgen.benchmarking import check_target
from physgen.files import read_events
from physgen.shell_options import Flag, Names, Seed, Whole, split_names

__all__ = ["benchmark"]


def benchmark(
    data: Path,
    *,
    families: str = "diffusion,gan,vae",
    budgets: str = "60s",
    fields: Names = None,
    conditions: str | None = None,
    cut: str | None = None,
    leave_out: str = "",
    tree: str | None = None,
    binning: Path | None = None,
    n_test: Annotated[int, Whole] = 10_000,
    output: Annotated[list[Path] | None, Flag, Parameter(name=["--output", "-o"])] = None,
    seed: Seed = 0,
) -> None:
    """Train every family on a file, and say which to use at which budget.

    Example: `physgen benchmark data/zmumu.root --fields mu1_pt,met,njet --budgets 30s,2m
    -o quality.png`

    Parameters
    ----------
    data
        ROOT, HDF5 or IDX file.
    families
        Families to try, separated by commas: diffusion, gan, vae, rbm, ebm, masked.
    budgets
        Wall time of a training each, separated by commas.
    fields
        Columns to learn, separated by commas; all by default.
    conditions
        Columns that will be given, not generated, separated by commas.
    cut
        Events to use, e.g. "mu1_pt > 30 and njet == 0".
    leave_out
        Events that no training sees, e.g. "incident_energy > 8000 and incident_energy < 16000":
        a second AUC says how a surrogate does there.
    tree
        Tree of a ROOT file with several.
    binning
        Binning XML of a CaloChallenge file.
    n_test
        Events kept for the test; at most a fifth.
    output
        File to write: .json, .txt, or a plot of quality against time as .png, .pdf or .svg;
        repeatable.
    seed
        Seed of the split, the trainings and the classifiers.
    """
    stderr = Console(stderr=True)
    for path in output or ():
        check_target(path)
    events = read_events(data, cut=cut, tree=tree, binning=binning)
    found = run(
        events,
        [name.strip() for name in families.split(",")],
        budgets=[budget.strip() for budget in budgets.split(",")],
        fields=split_names(fields),
        conditions=split_names(conditions),
        leave_out=leave_out,
        n_test=n_test,
        rng=seed,
        progress=lambda line: stderr.print(f"training {line}", highlight=False, soft_wrap=True),
    )
    Console(highlight=False, soft_wrap=True).print(str(found), markup=False)
    for path in output or ():
        found.save(path)
        stderr.print(f"wrote {path}", highlight=False, soft_wrap=True)
