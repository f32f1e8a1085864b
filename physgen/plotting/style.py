"""Colors, and the look of an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BAND_COLOR", "CANDIDATE_COLOR", "COLORS", "REFERENCE_COLOR", "styled"]

# Okabe and Ito: told apart with any color vision, and the first two also in gray
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
REFERENCE_COLOR, CANDIDATE_COLOR = COLORS[:2]
BAND_COLOR = "#9DB7CB"


def styled(ax: Axes) -> Axes:
    """Small labels, ticks inside on all sides, thin frame."""
    ax.tick_params(labelsize=7.5, direction="in", top=True, right=True, which="both", length=2.5)
    ax.xaxis.label.set_fontsize(9)
    ax.yaxis.label.set_fontsize(8)
    for side in ax.spines.values():
        side.set_linewidth(0.6)
    return ax
