"""What every chapter's script needs: its arguments, the digits, a place for its figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from physgen.events import Events
from physgen.lectures.mnist import DataError, mnist

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CHAPTERS", "Chapter", "chapter", "chapter_path"]

# in the order of the lecture
CHAPTERS = {
    "energy": "energy models and contrastive optimization: six spins exactly, then digits",
    "divergences": "KL and JS divergence: what they punish, and why JS",
    "vae": "variational autoencoders: the bound term by term, the reparametrization, the plane",
    "gan": "the generative adversarial network, its losses and its score",
    "equilibrium": "the best discriminator, known and learned",
    "conditional_gan": "digits on demand",
    "diffusion": "noise forward and backward, likelihood, posterior, a digit completed",
    "families": "all five families on MNIST",
    "physics": "the same five lines on spins and on a calorimeter",
}


@dataclass(frozen=True)
class Chapter:
    """Arguments of a script.

    Attributes
    ----------
    quick : bool
        Small and fast, to see that it runs.
    data : str, optional
        Folder with MNIST's files.
    output : Path, optional
        Folder for the figures.
    """

    quick: bool = False
    data: str | None = None
    output: Path | None = None

    def digits(self, part: str = "train") -> Events:
        """MNIST, 2,000 of it if ``quick``; see :func:`physgen.lectures.mnist`."""
        found = mnist(part, self.data)  # type: ignore[arg-type]  # it says what is wrong
        return found[:2000] if self.quick else found

    def sample(self, name: str) -> Path:
        """One of the samples in the folder ``data`` of the repository.

        Raises
        ------
        DataError
            If this physgen was installed without it.
        """
        path = Path(__file__).parents[2] / "data" / name
        if not path.is_file():
            raise DataError(
                f"this chapter reads data/{name}, which lies in physgen's repository and not in "
                "an installed package; run it in a clone"
            )
        return path

    def save(self, figure: Figure, name: str) -> None:
        """Write a figure into the folder for them, if there is one."""
        if self.output is not None:
            self.output.mkdir(parents=True, exist_ok=True)
            figure.savefig(self.output / f"{name}.png", dpi=110)


def chapter(arguments: Sequence[str] | None = None) -> Chapter:
    """Read a script's arguments ``--quick``, ``--data FOLDER`` and ``-o FOLDER``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    parser.add_argument("--data", help="folder with MNIST's files")
    parser.add_argument("-o", "--output", type=Path, help="folder for the figures")
    return Chapter(**vars(parser.parse_args(arguments)))


def chapter_path(name: str) -> Path:
    """Where the script of a chapter is.

    Raises
    ------
    ValueError
        If there is no such chapter; the message lists them.
    """
    if name not in CHAPTERS:
        raise ValueError(f"there is no chapter {name!r}; the chapters are {', '.join(CHAPTERS)}")
    return Path(__file__).parent / "chapters" / f"{name}.py"
