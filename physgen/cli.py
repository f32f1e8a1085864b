"""The shell command: parse, call one public function, write.

Options of models, training and simulators are the fields of their dataclasses. Results go to
stdout, progress and messages to stderr. Exit code 0: done; 1: it could not be done (the message
says why); 2: the command line is wrong; 130 and 143: stopped by Ctrl-C or SIGTERM; with
``compare``, 1 and 3 for FAIL and INCONCLUSIVE.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import App, Group, Parameter
from rich.console import Console

import physgen as pg
from physgen.files.checks import printable
from physgen.report.report import check_target as check_report
from physgen.scoreboard import scoreboard as place_showers
from physgen.shell_benchmark import benchmark
from physgen.shell_distill import distill
from physgen.shell_export import export
from physgen.shell_lecture import lecture
from physgen.shell_options import (
    Flag,
    Names,
    Packs,
    Seed,
    Whole,
    pack_names,
    split_names,
)
from physgen.shell_refine import refine
from physgen.shell_sample import sample, simulate
from physgen.shell_train import train_command
from physgen.training.ranks import rank_and_world

__all__ = ["app", "main"]

stderr = Console(stderr=True)

app = App(
    name="physgen",
    help="Monte Carlo event generation with learned surrogates.",
    version=f"physgen {pg.__version__}",
    help_format="markdown",
    error_console=stderr,
    suppress_keyboard_interrupt=False,  # main() says that it stopped
)

VERDICT = Group("Verdict", sort_key=-1)
_MAX_LINE = 10_000  # of a message; what is in it may come from a file
EXIT_CODES = {"pass": 0, "pass with difference": 0, "fail": 1, "inconclusive": 3}


@app.command
def compare(
    reference: Path,
    candidate: Annotated[list[Path], Flag],
    *,
    train: Path | None = None,
    fields: Names = None,
    observables: Packs = None,
    cut: str | None = None,
    tree: str | None = None,
    binning: Path | None = None,
    chains: str | None = None,
    scoreboard: Annotated[bool, Flag] = False,
    tolerance: Annotated[float | None, Parameter(group=VERDICT)] = None,
    for_events: Annotated[int | None, Whole, Parameter(group=VERDICT)] = None,
    max_auc: Annotated[float, Parameter(group=VERDICT)] = 0.55,
    alpha: Annotated[float, Parameter(group=VERDICT)] = 0.01,
    strict: Annotated[bool, Flag, Parameter(group=VERDICT)] = False,
    n_permutations: Annotated[int, Whole] = 999,
    max_events: Annotated[int, Whole] = 20_000,
    memory: str | None = None,
    output: Annotated[list[Path] | None, Flag, Parameter(name=["--output", "-o"])] = None,
    drop_nonfinite: Annotated[bool, Flag] = False,
    seed: Seed = 0,
) -> int:
    """Compare two files of events and say how far the second can be trusted.

    Example: `physgen compare data/zmumu.root fake.root --tolerance 0.1 -o report.html`

    Exit code: 0 if the comparison was made. With a tolerance, a number of events or `--strict`
    the verdict decides, for scripts: 0 PASS, 1 FAIL, 3 INCONCLUSIVE.

    Parameters
    ----------
    reference
        The truth: a file, or a pattern of several that are read as one.
    candidate
        The generated events: a file, or several, or patterns such as 's*.h5'.
    train
        Events that the surrogate learned from: copies of them are looked for.
    cut
        Events to keep in both files, e.g. "mu1_pt > 30 and njet == 0".
    tree
        Tree of ROOT files with several.
    binning
        Binning XML of CaloChallenge files.
    chains
        Field that numbers the Markov chains, where a file has it; events of a chain are in order.
    scoreboard
        Showers in the layout of the CaloChallenge, with --binning: print after the report where
        they stand among the published results, or why no claim can be made. Takes minutes for
        20,000 events, and grows with their square.
    tolerance
        Largest shift of a column, in sigma, and difference of correlations that do not matter
        (0.1 if neither this nor --for-events is given).
    for_events
        Events that you want to generate: the tolerance is 0.3 of their statistical error.
    max_auc
        Largest classifier AUC that does not matter.
    alpha
        Level of the whole comparison.
    strict
        Let the verdict decide the exit code.
    n_permutations
        Draws of the null of each test.
    max_events
        Events per side of the tests that compare all columns together.
    memory
        Do not read all events, but compare a random sample of each file, so that no more than
        this is taken, e.g. 2GB: for files larger than the memory.
    output
        Report to write: .html, .json or .txt; repeatable.
    drop_nonfinite
        Leave out events with NaN or infinite values.
    seed
        Seed of the permutations.
    """
    if tolerance is not None and for_events is not None:
        raise ValueError("give --tolerance or --for-events, not both")
    if scoreboard and binning is None:
        raise ValueError(
            "--scoreboard is for showers in the layout of the CaloChallenge: give their binning "
            "XML as --binning"
        )
    if memory is not None and (scoreboard or chains is not None):
        option = "--scoreboard" if scoreboard else "--chains"
        raise ValueError(f"{option} needs all events in their order, not a sample: omit --memory")
    for path in output or ():
        check_report(path)
    read: Callable[..., Any] = partial(
        pg.read_events if memory is None else partial(pg.stream, memory=memory),
        fields=split_names(fields),
        cut=cut,
        tree=tree,
        binning=binning,
        drop_nonfinite=drop_nonfinite,
    )
    truth, made = read(reference), read(candidate)
    numbered = _chain_fields((truth, made), chains)
    # before the report: files without a place on the board are told at once
    board = place_showers(truth, made, rng=seed) if scoreboard else None
    report = pg.compare(
        truth,
        made,
        train=None if train is None else read(train),
        observables=pack_names(observables),
        chains=numbered,
        tolerance=0.1 if tolerance is None else tolerance,
        for_events=for_events,
        max_auc=max_auc,
        alpha=alpha,
        n_permutations=n_permutations,
        max_events=max_events,
        rng=seed,
    )
    print(report)
    for path in output or ():
        report.save(path)
        stderr.print(f"wrote {path}", highlight=False, soft_wrap=True)
    if board is not None:
        print(f"\n{board}")
    decides = strict or tolerance is not None or for_events is not None
    return EXIT_CODES[report.outcome] if decides else 0


def _chain_fields(
    samples: tuple[pg.Events, pg.Events], name: str | None
) -> tuple[str | None, str | None]:
    """The field that numbers Markov chains, in each sample that has it."""
    if name is None:
        return None, None
    truth, made = (name if name in events.schema else None for events in samples)
    if truth is None and made is None:
        raise pg.SchemaError(f"no file has a field {name!r} that numbers Markov chains")
    return truth, made


@app.command
def info(path: Path, *, tree: str | None = None) -> None:
    """Say what a file of events or a surrogate holds.

    Example: `physgen info data/zmumu.root`

    Parameters
    ----------
    path
        File of events, or folder of a surrogate.
    tree
        Tree of a ROOT file with several.
    """
    if path.is_dir():
        print(pg.Surrogate.load(path).describe())
    else:
        print(pg.describe(path, tree=tree))


app.command(train_command(), name="train")
app.command(refine)
app.command(export)
app.command(lecture)
app.command(distill)
app.command(benchmark)
app.command(sample)
app.command(simulate)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Messages()])
    logging.getLogger("physgen.training").setLevel(logging.INFO)
    try:
        _refuse_many(sys.argv[1:] if arguments is None else arguments)
        result = app(arguments, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read our output has seen enough; what is flushed at the end must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as a shell says SIGPIPE
    except cyclopts.CycloptsError:
        return 2
    except (ValueError, TypeError, OSError, RuntimeError, IndexError) as error:
        here, n = rank_and_world()
        where = f" in process {here} of {n}" if n > 1 else ""
        _tell(f"[bold red]error{where}:[/]", str(error))
        return 1
    except KeyboardInterrupt:
        if rank_and_world()[0] == 0:
            stderr.print("stopped")
        return 130
    return result if isinstance(result, int) else 0


def _refuse_many(arguments: Sequence[str]) -> None:
    """Raise ValueError where torchrun has started what many processes cannot do together."""
    asked = arguments[0] if arguments else ""
    n = rank_and_world()[1]
    if n == 1 or asked == "train" or asked.startswith("-"):
        return
    if asked in ("sample", "simulate"):
        remedy = "start one command per job, with --shard 1/4, 2/4, ... (see --help)"
    else:
        remedy = "start it without torchrun"
    raise ValueError(
        f"torchrun starts {n} processes of `physgen {asked}`, but only `physgen train` "
        f"is one job of many processes; {remedy}"
    )


class _Messages(logging.Handler):
    """Warnings in the style of the errors, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        is_note = record.levelno == logging.INFO
        _tell("note:" if is_note else "[bold yellow]warning:[/]", self.format(record))


def _tell(title: str, text: str) -> None:
    from rich.markup import escape

    # without emoji=False rich draws the ":b:" of "a:b:c"
    text = "\n".join(printable(line, _MAX_LINE) for line in text.split("\n"))
    stderr.print(f"{title} {escape(text)}", highlight=False, emoji=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
