"""The shell's ``distill``: a student that needs a few network calls per event."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Group, Parameter
from rich.console import Console

from physgen import storage
from physgen.distillation import distill as make_student
from physgen.files import read_events
from physgen.shell_options import Given, Output, Seed, Whole, given_values
from physgen.surrogate import Surrogate
from physgen.training import TrainingConfig

__all__ = ["distill"]

TRAINING = Group("Training", sort_key=-1)
DEFAULTS = TrainingConfig()


def distill(
    teacher: Path,
    *,
    output: Output,
    n_steps: Annotated[int, Whole] = 2,
    n_events: Annotated[int, Whole] = 20_000,
    given: Given = None,
    conditions: Path | None = None,
    seed: Seed = 0,
    training: Annotated[TrainingConfig, Parameter(name="*", group=TRAINING)] = DEFAULTS,
) -> None:
    """Train a student that makes an event in a few calls of its network.

    Example: `physgen distill run --n-steps 2 --budget 2m --seed 1 -o student`

    Parameters
    ----------
    teacher
        Folder of a diffusion model, written by `physgen train`.
    output
        Folder of the student.
    n_steps
        Network calls of the student for an event.
    n_events
        Events that the teacher makes for it.
    conditions
        File whose events give the conditions, in turn; the training file will do.
    seed
        Seed of the teacher's events and the training.
    """
    storage.check_target(output)
    surrogate = Surrogate.load(teacher)
    names = list(surrogate.schema.with_role("condition"))
    values: dict[str, Any] = dict(given_values(given))
    if conditions is not None and names:
        table = read_events(conditions, fields=names, stop=n_events)
        rows = np.arange(n_events) % len(table)
        values = {name: table[name][rows] for name in names} | values
    student = make_student(
        surrogate, n_steps, conditions=values or None, n_events=n_events, training=training,
        rng=seed,
    )  # fmt: skip
    student.save(output)
    losses = ", ".join(f"{n} {v[-1]:.4g}" for n, v in student.history.losses.items())
    Console(highlight=False, soft_wrap=True).print(
        f"{output}: {student!r}, {n_steps} network calls per event, last loss {losses}",
        markup=False,
    )
