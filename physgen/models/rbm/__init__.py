r"""Restricted Boltzmann machine with Ising, Bernoulli, Potts and Gaussian units.

Symbols: features :math:`x` and the values :math:`u(x)` of the visible units that they stand for
(:mod:`physgen.models.rbm.layers`), hidden units :math:`h` of values -1 and +1 or 0 and 1,
couplings :math:`W` (n_features, n_hidden), biases :math:`a, b`, gains :math:`g` (n_hidden), widths
:math:`\sigma_i` of the real features R, where :math:`u_i = x_i / \sigma_i^2`; D are the others.

.. math::

    E(x, h) &= \sum_{i \in R} \frac{(x_i - a_i)^2}{2 \sigma_i^2} - \sum_{i \in D} a_i u_i
              - \sum_{ij} u_i W_{ij} g_j h_j - \sum_j b_j h_j

    F(x) &= -\ln \sum_h e^{-E(x, h)} = \sum_{i \in R} \frac{(x_i - a_i)^2}{2 \sigma_i^2}
           - \sum_{i \in D} a_i u_i - \sum_j \ln \sum_{h_j} e^{f_j h_j}, \qquad
    f_j = b_j + g_j \sum_i u_i W_{ij}

and :math:`p(x) = e^{-F(x)} / Z`. The inner sum is :math:`2 \cosh f_j` for Ising and
:math:`1 + e^{f_j}` for Bernoulli units. Without conditions all gains are 1; under a condition c a
perceptron gives :math:`a(c), b(c)` and :math:`\ln g(c)`.

Given :math:`h`, the visible units are independent, in the fields :math:`k_i = a_i + \sum_j W_{ij}
g_j h_j`: those of the real features are the means of normal laws with widths :math:`\sigma_i`, and
a Potts unit takes its value i with probability :math:`e^{k_i} / \sum_l e^{k_l}`, the sum over its
own features. Given :math:`x`, the hidden units are independent, in the fields :math:`f_j`.

The machine with units in {0, 1} is the same law as that of spins: with W, a, b, g of spins,
:math:`W' = 4W`, :math:`a' = 2a - 2 W g`, :math:`b'_j = 2 b_j - 2 g_j \sum_i W_{ij}` and
:math:`g' = g`.
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
