"""Figures of whole arrays: mean lattices, images and showers, and single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from physgen.plotting.style import style_bar, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

    from physgen.report.findings import Picture

__all__ = ["plot_examples", "plot_picture"]

_COLORS = "YlGnBu"  # from light to dark, so that gray shows it too
_DECADES = 2.0  # a wider range gets a logarithmic scale, of at most 4
_MAX_NUMBERS = 100  # cells; of more, signs are marked
_MAX_MARKS = 400
_FEW_VALUES = 5  # such as spins: written at the scale, and nothing between
_SEEN = 3.0  # standard errors
_GAP = 0.08  # between two examples, in units of their longer side


def plot_picture(
    ax: Axes, picture: Picture, what: Literal["reference", "candidate", "pull"]
) -> Axes:
    """Draw the mean of a sample, or the difference of the means in standard errors.

    Both means share one scale. In the difference of up to 100 cells the numbers are written; in
    larger ones + and − mark what is above 3 standard errors.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    picture : Picture
        Such as ``report.pictures[0]``.
    what : {"reference", "candidate", "pull"}
        Which of its arrays.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from physgen.report.findings import Picture
    >>> mean = np.arange(6.0).reshape(2, 3)
    >>> p = Picture("e", "MeV", mean, mean, 0 * mean, (mean[None], mean[None]))
    >>> len(plot_picture(Figure().subplots(), p, "reference").get_images())
    1
    """
    values = np.asarray(getattr(picture, what), float)
    square = max(values.shape) <= 3 * min(values.shape)
    aspect: Literal["equal", "auto"] = "equal" if square else "auto"
    if what == "pull":
        limit = float(np.clip(np.abs(values).max(initial=0.0), 4, 8))
        image = ax.imshow(values, cmap="PuOr", vmin=-limit, vmax=limit, aspect=aspect,
                          interpolation="none")  # fmt: skip
        _mark_signs(ax, values, 0.6 * limit)
        label = "candidate − reference [standard errors]"
        extend = "both" if np.abs(values).max(initial=0.0) > limit else "neither"
    else:
        scale = _scale(np.stack((picture.reference, picture.candidate)))
        image = ax.imshow(values, cmap=_COLORS, norm=scale, aspect=aspect, interpolation="none")
        label = f"mean [{picture.unit}]" if picture.unit else "mean"
        extend = "neither"
    ax.set_xlabel("column")
    ax.set_ylabel("row")
    styled(ax)
    ax.tick_params(length=0)
    ax.locator_params(nbins=8, integer=True)
    style_bar(ax.figure.colorbar(image, ax=ax, shrink=0.85, pad=0.03, extend=extend), label)
    return ax


def plot_examples(ax: Axes, picture: Picture) -> Axes:
    """Draw single events: those of the reference above, those of the candidate below.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    picture : Picture
        Such as ``report.pictures[0]``.
    """
    ours, theirs = (np.asarray(e, float) for e in picture.examples)
    scale = _scale(np.concatenate((ours, theirs)))
    shape = np.array(ours.shape[1:])
    # very long ones are drawn less long
    height, width = np.clip(shape / shape.max(), 1 / 3, 1)
    for row, sample in enumerate((ours, theirs)):
        bottom = -row * (height + 2 * _GAP)
        for k, event in enumerate(sample):
            left = k * (width + _GAP)
            image = ax.imshow(
                event, cmap=_COLORS, norm=scale, interpolation="none",
                extent=(left, left + width, bottom, bottom + height),
            )  # fmt: skip
            ax.plot(
                left + width * np.array([0, 1, 1, 0, 0]),
                bottom + height * np.array([0, 0, 1, 1, 0]), color="#5b6875", lw=0.5,
            )  # fmt: skip
        name = ("reference", "candidate")[row]
        ax.text(-_GAP, bottom + height / 2, name, rotation=90, fontsize=8, ha="right", va="center")
    ax.set_xlim(-3 * _GAP, max(len(ours), len(theirs)) * (width + _GAP))
    ax.set_ylim(-height - 3 * _GAP, height + _GAP)
    ax.set_aspect("equal")
    ax.set_axis_off()
    values = np.unique(picture.examples)
    ticks = values.tolist() if len(values) <= _FEW_VALUES else None
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.7, pad=0.02, ticks=ticks)
    style_bar(bar, f"[{picture.unit}]" if picture.unit else "")
    return ax


def _scale(values: np.ndarray) -> Normalize:
    """Scale of colors: logarithmic for contents that span decades, with empty cells at its end."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    if low >= 0 and positive.size:
        typical = float(np.quantile(positive, 0.05))
        if high > 10**_DECADES * typical:
            return LogNorm(max(typical, high / 1e4), high, clip=True)
    return Normalize(low, high if high > low else low + 1.0)


def _mark_signs(ax: Axes, pulls: np.ndarray, dark: float) -> None:
    if pulls.size <= _MAX_NUMBERS:
        for (row, column), pull in np.ndenumerate(pulls):
            ax.text(
                column, row, f"{pull:+.1f}".replace("-", "−"), fontsize=6.5, ha="center",
                va="center_baseline", color="white" if abs(pull) > dark else "black",
            )  # fmt: skip
        return
    size = float(np.clip(80 / max(pulls.shape), 1.5, 6))
    rows, columns = np.nonzero(np.abs(pulls) >= _SEEN)
    strongest = np.argsort(-np.abs(pulls[rows, columns]), kind="stable")[:_MAX_MARKS]
    rows, columns = rows[strongest], columns[strongest]
    found = pulls[rows, columns]
    for marker, of_sign in (("+", found > 0), ("_", found < 0)):
        for color, of_shade in (("white", np.abs(found) > dark), ("black", np.abs(found) <= dark)):
            on = of_sign & of_shade
            ax.plot(columns[on], rows[on], marker, ms=size, mew=1.0, color=color, ls="none")
