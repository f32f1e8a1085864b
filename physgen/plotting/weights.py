"""Figures of the weights of a Boltzmann machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from physgen.plotting.style import REFERENCE_COLOR, style_bar, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["receptive_fields", "weight_spectrum"]

# between two images, in units of their longer side
_GAP = 0.1


def receptive_fields(ax: Axes, couplings: Any, shape: Sequence[int], *, n: int = 25) -> Axes:
    """Draw what hidden units respond to: their couplings to the visible ones, as images.

    The units with the largest norm of couplings come first, row by row. One symmetric scale
    serves all: red couplings align a visible unit with the hidden one, blue ones oppose them.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    couplings : array or Tensor of shape (n_visible, n_hidden)
        Couplings :math:`W_{ij}`, such as ``surrogate.model.couplings``.
    shape : (int, int)
        Rows and columns of an event, with n_visible sites together.
    n : int, default 25
        Images at most.

    Raises
    ------
    ValueError
        If the couplings are no matrix, or have not as many rows as the image has sites.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = receptive_fields(Figure().subplots(), np.eye(16), (4, 4), n=9)
    >>> len(ax.get_images())
    9
    """
    w = _strongest(_array(couplings), shape, n)
    n_columns = math.ceil(math.sqrt(len(w)))
    height, width = np.divide(shape, max(shape))
    limit = float(np.abs(w).max()) or 1.0
    for k, field in enumerate(w):
        row, column = divmod(k, n_columns)
        left, top = column * (width + _GAP), -row * (height + _GAP)
        image = ax.imshow(
            field, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest",
            extent=(left, left + width, top - height, top),
        )  # fmt: skip
        ax.plot(
            left + width * np.array([0, 1, 1, 0, 0]), top - height * np.array([0, 0, 1, 1, 0]),
            color="#5b6875", lw=0.4,
        )  # fmt: skip
    ax.set_xlim(-_GAP / 2, n_columns * (width + _GAP) - _GAP / 2)
    ax.set_ylim(-math.ceil(len(w) / n_columns) * (height + _GAP) + _GAP / 2, _GAP / 2)
    ax.set_axis_off()
    style_bar(ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02), "coupling")
    return ax


def weight_spectrum(ax: Axes, singular_values: Any, steps: Sequence[float] | None = None) -> Axes:
    """Draw the singular values of the couplings: those of one machine, or along a training.

    A machine learns mode by mode: a singular value leaves the bulk of its random beginning when
    the machine has found a direction in which the data vary (Decelle, Fissore and Furtlehner,
    arXiv:1708.02917).

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    singular_values : array or Tensor of shape (n_modes,) or (n_looks, n_modes)
        At least 0, in any order.
    steps : sequence of float, optional
        Step of each look; their number by default.

    Raises
    ------
    ValueError
        If the array has another shape or fits not the steps.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> weight_spectrum(Figure().subplots(), [3.0, 1.0, 0.5]).get_xlabel()
    'mode'
    """
    values = -np.sort(-_array(singular_values), axis=-1)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(
            f"singular_values must have shape (n_modes,) or (n_looks, n_modes), got {values.shape}"
        )
    if values.ndim == 1:
        modes = np.arange(1, len(values) + 1)
        ax.plot(modes, values, "o-", color=REFERENCE_COLOR, ms=3, lw=0.8)
        ax.set_xlabel("mode")
    else:
        _draw_modes(ax, values, np.arange(len(values)) if steps is None else np.asarray(steps))
    if values.max() > 0:
        ax.set_yscale("log")
        # what is zero but for rounding would take most of the axis
        ax.set_ylim(max(values.min(), 1e-3 * values.max()) / 1.3, 1.3 * values.max())
        _plain_ticks(ax.yaxis)
    ax.set_ylabel("singular value of the couplings")
    return styled(ax)


def _draw_modes(ax: Axes, values: np.ndarray, steps: np.ndarray) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    if len(steps) != len(values):
        raise ValueError(f"{len(steps)} steps do not fit {len(values)} sets of singular values")
    n_modes = values.shape[1]
    # without the bright end, which is hard to see on white
    colors = ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, 256)))
    rank = LogNorm(1, max(2, n_modes))
    for mode in range(n_modes, 0, -1):  # the strongest on top
        ax.plot(steps, values[:, mode - 1], color=colors(rank(mode)), lw=1.0)
    ax.set_xlabel("step")
    if steps[-1] > 100 * steps[0] > 0:
        ax.set_xscale("log")
    bar = ax.figure.colorbar(ScalarMappable(rank, colors), ax=ax, pad=0.02)
    style_bar(bar, "mode")
    bar.ax.invert_yaxis()  # the strongest above, as in the plot
    _plain_ticks(bar.ax.yaxis)


def _plain_ticks(axis: Axis) -> None:
    """Let a logarithmic axis say 0.5, 1, 2 and not powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _strongest(couplings: np.ndarray, shape: Sequence[int], n: int) -> np.ndarray:
    """Images of the columns with the largest norm, shape (n_images, rows, columns)."""
    if couplings.ndim != 2 or not couplings.size:
        raise ValueError(f"couplings must have shape (n_visible, n_hidden), got {couplings.shape}")
    if len(shape) != 2 or math.prod(shape) != len(couplings):
        raise ValueError(
            f"{len(couplings)} visible units are no image of shape {tuple(shape)}; give rows and "
            "columns whose product is their number"
        )
    order = np.argsort(-np.linalg.norm(couplings, axis=0), kind="stable")[:n]
    return couplings[:, order].T.reshape(-1, *shape)


def _array(values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, float)
