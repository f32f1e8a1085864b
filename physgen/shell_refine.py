"""The command that corrects generated events with classifier weights."""

from functools import partial
from pathlib import Path
from typing import Annotated

from rich.console import Console

from physgen.files import check_target, read_events, write_events
from physgen.refinement import refine as learn
from physgen.shell_options import Flag, Names, Output, Packs, Seed, Whole, pack_names, split_names
from physgen.unweighting import unweight as accept

__all__ = ["refine"]


def refine(
    reference: Path,
    generated: Path,
    *,
    output: Output,
    apply: Path | None = None,
    unweight: Annotated[bool, Flag] = False,
    fields: Names = None,
    observables: Packs = None,
    cut: str | None = None,
    tree: str | None = None,
    binning: Path | None = None,
    max_weight: float = 20.0,
    n_folds: Annotated[int, Whole] = 5,
    drop_nonfinite: Annotated[bool, Flag] = False,
    seed: Seed = 0,
) -> None:
    """Weigh generated events so that they have the law of the truth.

    Example: `physgen refine truth.h5 fake.h5 -o refined.h5`

    Classifiers between the two files learn what the surrogate gets wrong; each event is weighed by
    one that has not seen it. Judge the result on true events that were not used here, with
    `physgen compare other.h5 refined.h5`.

    Parameters
    ----------
    reference
        The truth.
    generated
        Events of the surrogate, at the conditions of the truth.
    output
        File to write, with a weight column.
    apply
        Other events of the same surrogate: these are weighed and written.
    unweight
        Write fewer events, accepted in proportion to their weights, each of weight 1.
    fields
        Columns that the classifiers see, separated by commas; all by default.
    cut
        Events to keep in all files.
    tree
        Tree of ROOT files with several.
    binning
        Binning XML of CaloChallenge files.
    max_weight
        Limit of the correction, up and down.
    n_folds
        Classifiers.
    drop_nonfinite
        Leave out events with NaN or infinite values.
    seed
        Seed of the classifiers, and of what is accepted.
    """
    check_target(output)
    read = partial(read_events, cut=cut, tree=tree, binning=binning, drop_nonfinite=drop_nonfinite)
    found = learn(
        read(reference),
        read(generated),
        fields=split_names(fields),
        observables=pack_names(observables),
        n_folds=n_folds,
        max_weight=max_weight,
        rng=seed,
    )
    said = [str(found)]
    events = found.events if apply is None else found(read(apply))
    if unweight:
        fewer = accept(events, rng=seed)
        events = fewer.events
        said.append(str(fewer))
    write_events(output, events)
    said.append(f"{output}: {len(events):,} events, weight {events.schema.weight}")
    Console().print("\n".join(said), highlight=False, soft_wrap=True, markup=False, emoji=False)
