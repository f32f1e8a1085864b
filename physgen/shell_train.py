"""The command that trains, and what it finds of an earlier call: checkpoints, or a result."""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from rich.console import Console

from physgen import fitting, storage
from physgen.events import Events
from physgen.files import EventStream, event_files, read_events, stream
from physgen.models.base import ModelSettings
from physgen.random import as_seed
from physgen.shell_options import Flag, Names, Output, Seed, say, split_names
from physgen.shell_settings import SHELL_SETTINGS, library_settings
from physgen.surrogate import Surrogate
from physgen.training import Checkpoint, Progress, TrainingConfig
from physgen.training.ranks import Ranks

__all__ = ["train_command"]

stderr = Console(stderr=True)
TRAINING = Group("Training", sort_key=-1)
DEFAULTS = TrainingConfig()


def train(
    data: Annotated[list[Path], Flag],
    *,
    output: Output,
    model: Literal["diffusion", "gan", "vae", "rbm", "ebm", "masked"] = "diffusion",
    fields: Names = None,
    conditions: str | None = None,
    cut: str | None = None,
    tree: str | None = None,
    binning: Path | None = None,
    drop_nonfinite: bool = False,
    memory: str | None = None,
    seed: Seed = 0,
    checkpoint_every: str = "5m",
    training: Annotated[TrainingConfig, Parameter(name="*", group=TRAINING)] = DEFAULTS,
    **families: Any,
) -> None:
    """Train a surrogate on a file of events.

    Example: `physgen train data/zmumu.root --model diffusion --fields mu1_pt,met,njet
    --conditions njet --budget 60s --seed 1 -o run`

    A training that was killed or stopped goes on when the same line is repeated: it is kept in
    the folder `run.training` beside the output, which is removed in the end. Where the output is
    there already, of the same events, settings and seed, nothing is done.

    Many processes train one surrogate, each on its part of every batch, if torchrun starts them:
    `torchrun --nproc-per-node=2 -m physgen train data/zmumu.root --epochs 3 --seed 1 -o run`

    Parameters
    ----------
    data
        ROOT, HDF5 or IDX file; several files, or patterns such as 'part*.root', are read as one.
    output
        Folder of the surrogate.
    model
        Family of the model.
    fields
        Columns to learn, separated by commas; all by default.
    conditions
        Columns that will be given, not generated, separated by commas.
    cut
        Events to keep, e.g. "mu1_pt > 30 and njet == 0".
    tree
        Tree of a ROOT file with several.
    binning
        Binning XML of a CaloChallenge file.
    drop_nonfinite
        Leave out events with NaN or infinite values.
    memory
        Do not read all events at once, but in parts that take no more than this, e.g. 2GB: for
        files larger than the memory.
    seed
        Seed of weights, batches and noise.
    checkpoint_every
        Time (90s, 5m, 1h) or number of steps between two checkpoints.
    """
    settings = library_settings(model, families[model])
    ranks = Ranks.found(training.device)
    storage.check_target(output)
    checkpoint = Checkpoint(_checkpoint_folder(output), checkpoint_every)
    given, wanted = split_names(conditions), split_names(fields)
    read = read_events if memory is None else partial(stream, memory=memory)
    events = read(
        data,
        fields=None if wanted is None else [*wanted, *(n for n in given or () if n not in wanted)],
        cut=cut,
        tree=tree,
        binning=binning,
        drop_nonfinite=drop_nonfinite,
    )
    if not checkpoint.exists() and _is_trained(output, events, settings, given, training, seed):
        if ranks.leads:
            say(
                Console(),
                f"{output}: trained already on these events with these settings and this seed; "
                "delete it to train again",
            )
            checkpoint.discard()  # what a kill right after the end has left
        return
    with _shown(f"training {model}", events, ranks) as report:
        surrogate = Surrogate.fit(
            events, settings, conditions=given, training=training, rng=seed, progress=report,
            checkpoint=checkpoint.folder, checkpoint_every=checkpoint_every,
        )  # fmt: skip
    if ranks.leads:
        _save(surrogate, output, data)
        checkpoint.discard()


def train_command() -> Callable[..., None]:
    """`physgen train`, with one parameter per family, whose options are those of its settings."""
    signature = inspect.signature(train)
    plain = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    families = [
        inspect.Parameter(
            family,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[kind, Parameter(group=Group(f"Settings of {kind.__name__}"))],
            default=kind(),
        )
        for family, kind in SHELL_SETTINGS.items()
    ]

    def command(*args: Any, **kwargs: Any) -> None:
        train(*args, **{family: kind() for family, kind in SHELL_SETTINGS.items()} | kwargs)

    command.__doc__ = train.__doc__
    command.__signature__ = signature.replace(parameters=[*plain, *families])  # type: ignore[attr-defined]  # functions have one
    return command


def _checkpoint_folder(output: Path) -> Path:
    """Where a training is kept: beside its output, so that an older surrogate there stays."""
    target = Path(os.path.realpath(output))
    return target.with_name(f"{target.name}.training")


def _is_trained(
    output: Path,
    events: Events | EventStream,
    settings: ModelSettings,
    conditions: Iterable[str] | None,
    training: TrainingConfig,
    seed: int,
) -> bool:
    """Whether the output is the result of this very training; of a stream nobody knows."""
    if not output.exists() or isinstance(events, EventStream):
        return False
    try:
        stored, _ = storage.read_folder(output)
    except (OSError, storage.SurrogateFileError):
        return False  # it is replaced as a whole
    config = fitting.with_budget(training, None, None, None)
    source = fitting.InMemory(fitting.training_events(events, None, conditions))
    wanted = {
        "model": storage.model_to_dict(settings, None),
        "info": fitting.origin(source, config, as_seed(seed)),
    }
    found = {"model": stored["model"], "info": {**stored["info"]}}
    for name in ("file", "files"):
        found["info"].pop(name, None)
    return bool(found == json.loads(json.dumps(wanted)))


def _save(surrogate: Surrogate, output: Path, data: list[Path]) -> None:
    """Write the surrogate, with the names and hashes of its files, and say how it went."""
    files = [{"name": file.name, "sha256": _sha256(file)} for file in event_files(data)]
    surrogate.info |= {"file": files[0]} if len(files) == 1 else {"files": files}
    surrogate.save(output)
    history = surrogate.history
    player, losses = next(iter(history.losses.items()))
    stdout = Console()
    say(
        stdout,
        f"{output}: {surrogate!r}, {history.n_events_seen:,} events seen in "
        f"{history.seconds[-1]:.0f} s, last {player} loss {losses[-1]:.4g}",
    )
    if shown := history.describe():
        say(stdout, shown)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(
    title: str, events: Events | EventStream, ranks: Ranks
) -> AbstractContextManager[Callable[[Progress], None] | None]:
    """A bar of the training, in the first process."""
    if not ranks.leads:
        return nullcontext()
    n_events = len(events) if isinstance(events, Events) else events.n_entries
    processes = f" in {ranks.world} processes" if ranks.world > 1 else ""
    return _progress(f"{title} on {n_events:,} events{processes}")


@contextmanager
def _progress(title: str) -> Iterator[Callable[[Progress], None]]:
    """A title and a bar on stderr with loss, events per second and time left.

    The bar takes the room that the numbers leave; with two players they fill 80 columns.
    """
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(bar_width=None), TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[numbers]}"),
    )  # fmt: skip
    stderr.print(title, highlight=False, soft_wrap=True)
    with Bar(*columns, console=stderr, transient=False, expand=True) as bar:
        task = bar.add_task(title, total=1.0, numbers="")

        def report(at: Progress) -> None:
            bar.update(task, completed=at.fraction, numbers=_numbers(at))

        yield report
        bar.update(task, completed=1.0)


def _numbers(at: Progress) -> str:
    single = len(at.loss) == 1
    losses = ", ".join(f"{'loss' if single else p} {loss:.3f}" for p, loss in at.loss.items())
    minutes, seconds = divmod(round(at.seconds_left), 60)
    return f"{losses}  {at.events_per_second:,.0f} events/s  {minutes}:{seconds:02} left"
