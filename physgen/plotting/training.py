"""Figures of a training: losses and what the model showed, against the steps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from physgen.plotting.style import COLORS, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from physgen.training import History

__all__ = ["training_curves"]


def training_curves(ax: Axes, history: History, names: Iterable[str] | None = None) -> Axes:
    """Draw losses or diagnostics along a training.

    Losses are lines for the training events and dots for those held out; diagnostics are lines
    with a point for every look, with the errors that ``diagnostics`` holds as ``"<name>_error"``,
    on a logarithmic axis of steps where they span more than two decades.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to draw.
    history : History
        ``surrogate.history``.
    names : iterable of str, optional
        Players or names of ``history.diagnostics`` that share an axis, so one unit; by default
        the losses of all players.

    Raises
    ------
    ValueError
        If the history has no curve of a name; the message lists what it has.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from physgen.training import History
    >>> history = History(steps=[1, 2], losses={"rbm": [2.0, 1.0]})
    >>> training_curves(Figure().subplots(), history).get_ylabel()
    'loss per event'
    """
    names = list(history.losses) if names is None else _known(history, names)
    ax.locator_params(axis="x", nbins=5)  # the numbers of many steps are wide
    for k, name in enumerate(names):
        draw = _draw_losses if name in history.losses else _draw_diagnostic
        draw(ax, history, name, COLORS[k % len(COLORS)])
    ax.set_xlabel("step")
    ax.set_ylabel(_y_label(history, names))
    if len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend(edgecolor="none", framealpha=0.7, fontsize=7.5)
    return styled(ax)


def _known(history: History, names: Iterable[str]) -> list[str]:
    names = [names] if isinstance(names, str) else list(names)
    known = [*history.losses, *(n for n in history.diagnostics if n != "step")]
    for name in names:
        if name not in known:
            listed = ", ".join(map(repr, known)) or "none"
            raise ValueError(f"the history has no curve {name!r}; it has {listed}")
    return names


def _draw_losses(ax: Axes, history: History, player: str, color: str) -> None:
    ax.plot(
        history.steps, history.losses[player], color=color, lw=1.2,
        label=f"{player}, training events",
    )  # fmt: skip
    held_out = history.validation.get(player)
    if held_out:
        ax.plot(history.steps, held_out, ".", color=color, ms=4, label=f"{player}, held out")


def _draw_diagnostic(ax: Axes, history: History, name: str, color: str) -> None:
    steps, values = history.diagnostics["step"], history.diagnostics[name]
    errors = history.diagnostics.get(f"{name}_error")
    ax.errorbar(steps, values, errors, fmt="o-", color=color, ms=3, lw=1.2, label=name)
    if steps[-1] > 100 * steps[0] > 0:
        ax.set_xscale("log")


def _y_label(history: History, names: list[str]) -> str:
    """The name if there is one; for several the unit, if they share it."""
    if all(name in history.losses for name in names):
        return "loss per event"
    if len(names) == 1:
        return names[0]
    units = {found[1] if (found := re.search(r"\[(.+)\]$", name)) else "" for name in names}
    unit = units.pop()
    return f"[{unit}]" if unit and not units else ""
