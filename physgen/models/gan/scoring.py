r"""A proper score beside the game: how well a generator expects the true events.

A score of a true event x is proper if on average nothing beats the law of x itself.

* Where the generator knows its density given the noise z that features share (arrays:
  :mod:`physgen.models.gan.generators`), the logarithmic one, :math:`-\ln p(x|z, c)` per feature.
  Its mean over z is above that of the law itself, the more so the more z matters: it teaches what
  each feature does, and leaves to the game what they have in common.
* Elsewhere the energy score of two events y, y' at the condition of x, per feature and of all
  features together,

  .. math:: S = |x - y| / 2 + |x - y'| / 2 - |y - y'| / 2

  By symmetry its gradient is on average that of :math:`|x - y| - |y - y'|` with y' held fixed,
  which is what is taken: half of the passes back are saved.

References
----------
Gneiting and Raftery, J. Am. Stat. Assoc. 102 (2007) 359, sec. 4. Grover, Dhar and Ermon,
*Flow-GAN*, arXiv:1705.08868 (likelihood beside the game). Pacchiardi et al., arXiv:2112.08217
(generators trained with scores alone).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["energy_score"]


def energy_score(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Score of pairs of generated events, one number per true event, (n_events,).

    Its value is that of S on average over both orders; its gradient with respect to ``first`` is
    that of S with respect to both.

    Parameters
    ----------
    x : Tensor of shape (n_events, n_features)
        True events.
    first, second : Tensor of shape (n_events, n_features)
        Independent events at the same conditions.
    """
    between = _distance(first, second.detach())
    return _distance(x, first) - between + between.detach() / 2


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean distance of the features, plus that of all together over the root of their number."""
    difference = x - y
    whole = torch.linalg.vector_norm(difference, dim=1) / x.shape[1] ** 0.5
    return difference.abs().mean(1) + whole
