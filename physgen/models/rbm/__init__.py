r"""Restricted Boltzmann machine with Ising and Gaussian visible units.

Symbols: visible :math:`v` (n_features), hidden :math:`h_j = \pm 1` (n_hidden), couplings
:math:`W` (n_features, n_hidden), biases :math:`a, b` (which may depend on the condition), widths
:math:`\sigma_i` of the real features; :math:`B` is the set of binary features, :math:`R` of the
real ones, and :math:`s_i = \sigma_i^2` for i in R, 1 for i in B.

.. math::

    E(v, h) = \sum_{i \in R} \frac{(v_i - a_i)^2}{2 \sigma_i^2} - \sum_{i \in B} a_i v_i
              - \sum_{ij} \frac{v_i}{s_i} W_{ij} h_j - \sum_j b_j h_j

    F(v) = -\ln \sum_h e^{-E(v, h)} = \sum_{i \in R} \frac{(v_i - a_i)^2}{2 \sigma_i^2}
           - \sum_{i \in B} a_i v_i - \sum_j \ln 2 \cosh\Big(b_j + \sum_i \frac{v_i}{s_i} W_{ij}
           \Big)

Given :math:`h`, the visible units are independent: :math:`p(v_i = 1) = \mathrm{sigmoid}\,
2(a_i + (W h)_i)` and :math:`N(a_i + (W h)_i, \sigma_i^2)`; given :math:`v`, so are the hidden
ones: :math:`p(h_j = 1) = \mathrm{sigmoid}\, 2 (b_j + \sum_i v_i W_{ij} / s_i)`.

The machine with units :math:`u, g` in {0, 1} of Hinton's guide is the same law:
:math:`v = 2u - 1, h = 2g - 1` turn :math:`W, a, b` into :math:`W' = 4W`,
:math:`a' = 2a - 2 W 1` and :math:`b' = 2b - 2 W^T 1`.
"""

from physgen.models.base import LogPartition
from physgen.models.rbm.chains import CD, PCD, FastPCD, NegativePhase, TemperedPCD
from physgen.models.rbm.model import RBMModel
from physgen.models.rbm.settings import RBM
from physgen.models.rbm.trajectory import BlockGibbs, Trajectory

__all__ = [
    "CD",
    "PCD",
    "RBM",
    "BlockGibbs",
    "FastPCD",
    "LogPartition",
    "NegativePhase",
    "RBMModel",
    "TemperedPCD",
    "Trajectory",
]
