"""Figures of thermodynamics: functions that draw on the Axes they are given and return them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from physgen.thermodynamics.estimation import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_curve", "plot_lattice", "plot_pulls"]

DOWN_COLOR, UP_COLOR = "#FFFFFF", "#20303C"


def plot_curve(
    ax: Axes,
    curve: Curve,
    *,
    x: ArrayLike | None = None,
    label: str | None = None,
    color: str = "#0072B2",
    marker: str = "o",
) -> Axes:
    """Draw averages as points with error bars.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    curve : Curve
        Averages and errors.
    x : array of shape (n,), optional
        Abscissa instead of ``curve.x``, e.g. temperatures.
    label : str, optional
        Name in the legend.
    color, marker : str
        As matplotlib takes them.
    """
    ax.errorbar(
        curve.x if x is None else np.asarray(x),
        curve.value,
        curve.std_error,
        fmt=marker,
        ms=3,
        lw=0.9,
        color=color,
        label=label,
        zorder=3,
    )
    return ax


def plot_pulls(
    ax: Axes,
    x: ArrayLike,
    pulls: np.ndarray,
    *,
    label: str | None = None,
    color: str = "#0072B2",
    marker: str = "o",
) -> Axes:
    """Draw deviations from exact values in standard errors, over bands of 1 and 2.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw; the bands and the axis label are drawn once.
    x : array of shape (n,)
        Abscissa.
    pulls : array of shape (n,)
        Of :meth:`Curve.pulls`; NaN is not drawn.
    label, color, marker
        Of the points.
    """
    if not ax.patches:
        for half in (2, 1):
            ax.axhspan(-half, half, color="#9DB7CB", alpha=0.3, lw=0)
        ax.axhline(0, color="#5b6875", lw=0.6)
        ax.set_ylabel("pull")
    ax.plot(np.asarray(x), pulls, marker, ms=3, color=color, label=label)
    largest = max(np.nanmax(np.abs(line.get_ydata()), initial=0.0) for line in ax.lines)
    half_height = max(3.5, 1.15 * largest)
    ax.set_ylim(-half_height, half_height)
    return ax


def plot_lattice(ax: Axes, spins: np.ndarray, *, title: str = "") -> Axes:
    """Draw one two-dimensional lattice, up spins dark and down spins white.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    spins : array of shape (rows, cols)
        Spins of +1 and -1.
    title : str, optional
        Above the lattice.

    Raises
    ------
    ValueError
        If it is not one lattice of two dimensions.
    """
    from matplotlib.colors import ListedColormap

    if np.ndim(spins) != 2:
        raise ValueError(
            f"one lattice of shape (rows, cols) is drawn, got shape {np.shape(spins)}; of events "
            "take one: spins[0]"
        )
    colors = ListedColormap([DOWN_COLOR, UP_COLOR])
    ax.imshow(spins, cmap=colors, vmin=-1, vmax=1, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=8)
    return ax
