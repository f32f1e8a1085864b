"""Colors, and the look of an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar

__all__ = [
    "BAND_COLORS",
    "CANDIDATE_COLOR",
    "COLORS",
    "REFERENCE_COLOR",
    "shortened",
    "style_bar",
    "styled",
]

# Okabe and Ito: told apart with any color vision, and the first two also in gray
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
REFERENCE_COLOR, CANDIDATE_COLOR = COLORS[:2]
BAND_COLORS = ("#B3C9DA", "#DFE9F1")  # 68 % and 95 %


def styled(ax: Axes) -> Axes:
    """Small labels, ticks inside on all sides, thin frame."""
    ax.tick_params(labelsize=7.5, direction="in", top=True, right=True, which="both", length=2.5)
    ax.xaxis.label.set_fontsize(9)
    ax.yaxis.label.set_fontsize(8)
    for side in ax.spines.values():
        side.set_linewidth(0.6)
    return ax


def style_bar(bar: Colorbar, label: str) -> Colorbar:
    """Small labels; the colors as one picture, which is lighter than 256 rectangles."""
    bar.set_label(label, fontsize=8, parse_math=False)
    bar.ax.tick_params(labelsize=7.5, length=2.5)
    bar.outline.set_linewidth(0.6)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)
    return bar


def shortened(label: str, width: int = 44) -> str:
    """Label without its middle if it is longer than this many characters.

    Examples
    --------
    >>> shortened("transverse momentum of the leading jet [GeV]", 24)
    'transverse m…g jet [GeV]'
    """
    left = width // 2
    return label if len(label) <= width else f"{label[:left]}…{label[left + 1 - width :]}"
