r"""The score of a lecture on generative adversarial networks, as it is printed there.

M. Hjorth-Jensen, *Advanced machine learning and data analysis for the physical sciences*, week of
30 April 2024, section "Calculating scores": a maximum mean discrepancy between images and those of
a generator.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from physgen.metrics.kernels import as_tables
from physgen.metrics.ladders import SPARE, Radial
from physgen.metrics.streaming import TileForm, full_precision, lay_out, tiles

__all__ = ["lecture_mmd"]


def lecture_mmd(
    real: np.ndarray | Tensor,
    generated: np.ndarray | Tensor,
    *,
    rescales_generated: bool = True,
    is_biased: bool = True,
) -> float:
    r"""Score of generated images as the lecture prints it; smaller is meant to be better.

    .. math:: {\rm score} = \sqrt{\max(\overline{k_{xx}} + \overline{k_{yy}}
              - 2\overline{k_{xy}}, 0)}, \qquad k(u,v) = e^{-|u-v|^2/(2s)}

    with s the mean squared distance between real images. Two defects make it no measure of
    quality, and either can be mended:

    - The generator makes pixels from -1 to 1, as the real ones are. The lecture maps those that
      are generated to 0 to 1 for the figures, and scores these against real ones from -1 to 1.
      Then perfect images are far off, and blank ones nearer.
    - The means hold the distance of each image to itself, which adds about
      :math:`(1-\bar k)(1/n+1/m)`, and the root is taken of that. With the 64 generated images of
      the lecture perfect ones score 0.08, and good generators cannot be told apart; zero or below
      is cut off.

    It has no error and no p-value either: for a judgement use :func:`physgen.metrics.mmd`.

    Parameters
    ----------
    real, generated : array or Tensor of shape (n, d) and (m, d)
        Flattened images, pixels from -1 to 1 in both.
    rescales_generated : bool, default True
        The first defect: generated pixels g are replaced by (g + 1)/2.
    is_biased : bool, default True
        The second one. Otherwise the unbiased estimate of MMD^2 itself is returned, which may be
        negative.

    Returns
    -------
    float
        The score, without unit.

    Raises
    ------
    ValueError
        For samples that are no tables of the same columns.

    Examples
    --------
    >>> images = np.random.default_rng(0).choice([-1.0, 1.0], (400, 50), p=[0.8, 0.2])
    >>> real, perfect, blank = images[:200], images[200:], np.full((200, 50), -1.0)
    >>> lecture_mmd(real, perfect) > lecture_mmd(real, blank)
    True
    >>> mended = {"rescales_generated": False, "is_biased": False}
    >>> lecture_mmd(real, perfect, **mended) < lecture_mmd(real, blank, **mended)
    True
    """
    x, y = as_tables(real, generated)
    if rescales_generated:
        y = (y + 1) / 2
    xx, yy, xy = _means(x, y)
    if is_biased:
        return math.sqrt(max(xx + yy - 2 * xy, 0.0))
    n, m = len(x), len(y)
    return (n * xx - 1) / (n - 1) + (m * yy - 1) / (m - 1) - 2 * xy


def _means(x: Tensor, y: Tensor) -> tuple[float, float, float]:
    """Means of the kernel within both samples, equal events included, and between them."""
    n, total = len(x), len(x) + len(y)
    z = lay_out(Radial("gaussian"), x, y, np.arange(total), x.device)
    pixels = z[:n, :-SPARE]
    square = pixels.square().sum(1).mean(dtype=torch.float64) - pixels.mean(0).square().sum()
    kernel = Radial("gaussian", n_bandwidths=1, bandwidth=math.sqrt(2 * float(square)))
    kernel.lay_out(z, kernel.unit(z))
    columns = torch.zeros(total, 3, device=z.device)
    columns[:n, 0], columns[n:, 1] = 1 / n, 1 / len(y)
    columns[:, 2] = columns[:, 0] + columns[:, 1]
    form = TileForm(columns, np.arange(total), n_kernels=1, n_tracked=0)
    with full_precision():
        for i, j, values in tiles(z, kernel):
            form.add(i, j, values)
    xx, yy, both = form.total[0].tolist()
    return xx, yy, (both - xx - yy) / 2
