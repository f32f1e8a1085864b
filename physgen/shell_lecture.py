"""The shell's ``lecture``: chapters by name, and the lecture's GAN with its own options."""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from rich.console import Console
from rich.table import Table

from physgen.files.atomic import atomic_path
from physgen.lectures import CHAPTERS, GanTraining, chapter_path
from physgen.shell_options import Flag, Whole, say

__all__ = ["lecture"]

GAN = Group("Chapter gan", sort_key=-1)
stdout = Console(highlight=False)

_WHY = (
    "The score as printed compares generated pixels from 0 to 1 with real ones from -1 to 1, so "
    "that blank images come out better than real digits; and 64 images leave a floor of its own. "
    "Mended, both are on one scale and 2,000 images count, without bias: real digits are near 0."
)


def lecture(
    chapter: str | None = None,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    data: Path | None = None,
    quick: Annotated[bool, Flag] = False,
    epochs: Annotated[int | None, Whole, Parameter(group=GAN)] = None,
    faithful: Annotated[bool, Flag, Parameter(group=GAN)] = False,
    noise: Annotated[Literal["uniform", "normal"] | None, Parameter(group=GAN)] = None,
    stop_within: Annotated[float | None, Parameter(group=GAN)] = None,
    seed: Annotated[int | None, Whole, Parameter(group=GAN)] = None,
) -> None:
    """Run a chapter of the lecture; without a name, list the chapters.

    Example: `physgen lecture gan -o out`

    Parameters
    ----------
    chapter
        Name of a chapter.
    output
        Folder for figures and numbers. A training that was interrupted goes on from there.
    data
        Folder with MNIST's four IDX files; by default PHYSGEN_DATA, then a download.
    quick
        Small and fast, to see that it runs.
    epochs
        Times through the digits, 100 by default.
    faithful
        Step for step and number for number as the lecture's code; by default the same mathematics
        in a quarter of the time.
    noise
        Law of the generator's noise, uniform by default.
    stop_within
        Stop where D(x) and D(G(z)) stay this close to 1/2.
    seed
        Seed of weights, batches, noise and dropout, 1 by default.
    """
    if chapter is None:
        _list()
        return
    script = chapter_path(chapter)
    if chapter == "gan":
        settings = {
            "faithful": faithful,
            "mode_z": noise or "uniform",
            "seed": 1 if seed is None else seed,
        }
        _gan(output, data, 100 if epochs is None else epochs, stop_within, quick, settings)
        return
    if faithful or any(x is not None for x in (epochs, noise, stop_within, seed)):
        raise ValueError(
            "--epochs, --faithful, --noise, --stop-within and --seed belong to the chapter gan"
        )
    arguments = ["--quick"] * quick
    arguments += ["--data", str(data)] if data is not None else []
    arguments += ["-o", str(output)] if output is not None else []
    _run(script, arguments)
    if output is not None:
        say(stdout, f"figures in {output}")


def _list() -> None:
    table = Table.grid(padding=(0, 2))
    for name, about in CHAPTERS.items():
        table.add_row(name, about)
    stdout.print(table)
    stdout.print("\nphysgen lecture NAME -o out     runs one; scripts to read and change are in")
    stdout.print(str(chapter_path("energy").parent), soft_wrap=True, markup=False)


def _run(script: Path, arguments: list[str]) -> None:
    """Run a script as if from the shell, its figures drawn without a window."""
    os.environ.setdefault("MPLBACKEND", "agg")
    before = sys.argv
    sys.argv = [str(script), *arguments]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = before


def _gan(
    output: Path | None,
    data: Path | None,
    n_epochs: int,
    stop_within: float | None,
    quick: bool,
    settings: dict[str, Any],
) -> None:
    from physgen.lectures import first_losses, js_bound, mnist, scores, train_gan
    from physgen.lectures.gan import line

    digits, test = (mnist(part, data)["images"] for part in ("train", "test"))
    if quick:
        digits, test, n_epochs = digits[:2000], test[:1000], min(n_epochs, 2)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    first = first_losses(digits, seed=settings["seed"], mode_z=settings["mode_z"])
    stdout.print(f"Generator Loss: {first['generator']:.4f}")
    stdout.print(
        f"Discriminator Losses: Real {first['discriminator real']:.4f} "
        f"Fake {first['discriminator fake']:.4f}"
    )
    training = train_gan(
        digits,
        n_epochs=n_epochs,
        stop_within=stop_within,
        checkpoint=None if output is None else output / "gan.safetensors",
        on_epoch=lambda number, epoch: stdout.print(line(number, epoch), markup=False),
        **settings,
    )
    if training.resumed_at:
        stdout.print(f"(epochs 1 to {training.resumed_at} were there from an earlier run)")
    last = training.epochs[-1]
    stdout.print(
        f"\nJS divergence of digits and images: at least {js_bound(last['discriminator']):.3f} "
        "bits, from the last loss of the discriminator"
    )
    judged = scores(training, test)
    _show_scores(judged)
    if output is not None:
        _write(output, training, {"first_losses": first, "scores": judged})


def _show_scores(judged: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("\nimages")
    table.add_column("score as printed\n(64 images)", justify="right")
    table.add_column("mended, MMD²\n(2,000 images)", justify="right")
    for name, row in judged.items():
        table.add_row(name, f"{row['as_printed']:.3f}", f"{row['mended']:.4f}")
    stdout.print()
    stdout.print(table)
    stdout.print(f"\n{_WHY}", markup=False)


def _write(output: Path, training: GanTraining, more: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    from physgen.lectures.gan_figures import learning_curves, samples_by_epoch

    curves = learning_curves(Figure(figsize=(9.5, 2.9), layout="constrained"), training)
    curves.savefig(output / "learning_curves.png", dpi=150)
    height = 0.75 * len(training.samples) + 0.2
    samples_by_epoch(Figure(figsize=(7, height)), training).savefig(
        output / "samples.png", dpi=150, bbox_inches="tight"
    )
    content = {"settings": training.settings, "epochs": training.epochs, **more}
    with atomic_path(output / "gan.json") as path:
        path.write_text(json.dumps(content, indent=1))
    stdout.print(
        f"\n{output}: learning_curves.png, samples.png, gan.json (numbers), gan.safetensors "
        "(to go on)",
        soft_wrap=True,
        markup=False,
    )
