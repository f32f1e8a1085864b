"""Figures of the lecture's training: its curves with the marks of equilibrium, its images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from physgen.lectures.gan import GanTraining, js_bound
from physgen.plotting.style import COLORS, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["learning_curves", "samples_by_epoch"]

_N_SHOWN = 8


def learning_curves(figure: Figure, training: GanTraining) -> Figure:
    """Draw losses, outputs of the discriminator and the proven JS divergence against the epoch.

    Dashed lines are where digits and images agree: losses of ln 2 and 2 ln 2, D = 1/2.
    """
    losses, outputs, divergence = figure.subplots(1, 3)
    numbers = range(1, len(training.epochs) + 1)

    def curve(ax: Axes, name: str, label: str, color: str) -> None:
        marker = "." if len(training.epochs) == 1 else ""
        values = [epoch[name] for epoch in training.epochs]
        ax.plot(numbers, values, label=label, color=color, marker=marker, linewidth=1.2)

    curve(losses, "generator", "generator", COLORS[0])
    curve(losses, "discriminator", "discriminator", COLORS[1])
    for level, color, label in (
        (math.log(2), COLORS[0], "ln 2"),
        (2 * math.log(2), COLORS[1], "2 ln 2"),
    ):
        losses.axhline(level, color=color, linestyle="--", linewidth=0.8)
        losses.annotate(
            label, (1, level), xycoords=("axes fraction", "data"), xytext=(-3, 2),
            textcoords="offset points", ha="right", fontsize=7.5, color=color,
        )  # fmt: skip
    losses.set_ylabel("loss")
    curve(outputs, "real", "digits, D(x)", COLORS[0])
    curve(outputs, "fake", "images, D(G(z))", COLORS[1])
    outputs.axhline(0.5, color="black", linestyle="--", linewidth=0.8)
    outputs.set_ylabel("output of the discriminator")
    outputs.set_ylim(0, 1)
    bound = [js_bound(epoch["discriminator"]) for epoch in training.epochs]
    marker = "." if len(bound) == 1 else ""
    divergence.plot(numbers, bound, color=COLORS[2], marker=marker, linewidth=1.2)
    divergence.set_ylabel("JS divergence at least [bits]")
    divergence.set_ylim(bottom=0)
    for ax in (losses, outputs):
        ax.legend(edgecolor="none", framealpha=0.7, fontsize=7.5)
    for ax in (losses, outputs, divergence):
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        styled(ax)
    return figure


def samples_by_epoch(figure: Figure, training: GanTraining) -> Figure:
    """Draw eight images of the same noise after some epochs, one row each."""
    shown = sorted(training.samples)
    grid = figure.subplots(
        len(shown), _N_SHOWN, squeeze=False, gridspec_kw={"wspace": 0.05, "hspace": 0.05}
    )
    for row, number in zip(grid, shown, strict=True):
        for ax, image in zip(row, training.samples[number], strict=False):
            ax.imshow(image.view(28, 28).numpy(), cmap="gray_r", vmin=-1, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
        row[0].set_ylabel(
            f"epoch {number}", rotation=0, ha="right", va="center", fontsize=9, labelpad=6
        )
    return figure
