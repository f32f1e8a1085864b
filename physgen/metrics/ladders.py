r"""Kernels of the maximum mean discrepancy, laid out so that one matrix product does the work.

A row z of the events becomes :math:`(z, -|z|^2/2, 1)`. With the last two columns swapped on one
side, the product of two rows is :math:`-|x-y|^2/2`: the exponent of a Gaussian kernel, with
nothing left to do but the exponential. The kernels of a ladder differ by factors of two in
bandwidth and come from the widest by squaring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from physgen.metrics.hamming import hamming_code

__all__ = ["Kernel", "Polynomial", "Radial", "as_kernel", "median_distance"]

SPARE = 2  # columns that a product of rows needs beside the features


@dataclass(frozen=True)
class Radial:
    r"""Kernels of the distance between two events, each twice as wide as the one before.

    Parameters
    ----------
    name : {"gaussian", "laplace", "hamming"}
        :math:`e^{-|x-y|^2/(2\sigma^2)}`; or :math:`e^{-|x-y|/\sigma}` with the Euclidean
        distance, which is less smooth and sees finer structure (scikit-learn's kernel of this
        name adds absolute differences instead); or :math:`e^{-H(x,y)/\sigma}` with the number H
        of columns that differ, for spins and other discrete features.
    n_bandwidths : int, default 5
        Rungs of the ladder, around the unit: 1/4, 1/2, 1, 2 and 4 times it.
    bandwidth : float, optional
        The unit, in that of the distance; by default the median over pairs of pooled events.

    Examples
    --------
    >>> Radial("gaussian").factors, Radial("laplace", n_bandwidths=1).factors
    ((0.25, 0.5, 1.0, 2.0, 4.0), (1.0,))
    """

    name: str
    n_bandwidths: int = 5
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _RADIAL:
            raise ValueError(f"a radial kernel is one of {_RADIAL}, got {self.name!r}")
        if self.n_bandwidths < 1:
            raise ValueError(f"n_bandwidths is at least 1, got {self.n_bandwidths}")
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise ValueError(f"a bandwidth is positive, got {self.bandwidth}")

    @property
    def factors(self) -> tuple[float, ...]:
        """Bandwidths over the unit."""
        return tuple(2.0 ** (k - (self.n_bandwidths - 1) / 2) for k in range(self.n_bandwidths))

    @property
    def is_centered(self) -> bool:
        """Whether a mean may be taken off the features, which saves digits."""
        return self.name != "hamming"

    def label(self, k: int, unit: float) -> str:
        """Words for rung k."""
        factor = self.factors[k]
        what = "median distance" if self.bandwidth is None else "that given"
        return f"bandwidth {factor * unit:.3g} ({factor:g} x {what})"

    def encoded(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Features whose distances the kernel is a function of; may be the very same tensors."""
        return hamming_code(x, y) if self.name == "hamming" else (x, y)

    def unit(self, rows: Tensor) -> float:
        """Unit of the bandwidths, from some rows of encoded features."""
        if self.bandwidth is not None:
            return self.bandwidth
        return median_distance(rows) ** (2 if self.name == "hamming" else 1)

    def lay_out(self, z: Tensor, unit: float) -> None:
        """Change rows of shape (n, width + 2) in place into what :meth:`mirrored` expects."""
        width = unit * self.factors[-1]
        z[:, :-SPARE] /= {
            "gaussian": width,
            "laplace": width / math.sqrt(2),
            "hamming": math.sqrt(width / 2),
        }[self.name]
        for start in range(0, len(z), 4096):  # in parts: squares of all would be a second copy
            part = z[start : start + 4096]
            part[:, -2] = -0.5 * part[:, :-SPARE].square().sum(1)
        z[:, -1] = 1

    def mirrored(self, z: Tensor) -> Tensor:
        """Rows for the other side of a product."""
        other = z.clone()
        other[:, -2], other[:, -1] = z[:, -1], z[:, -2]
        return other

    def values(self, product: Tensor) -> list[Tensor]:
        """Kernels from the narrowest to the widest; overwrites the product of two rows."""
        if self.name == "laplace":  # rounding may leave equal events on the wrong side of zero
            product = product.neg_().clamp_(min=0).sqrt_().neg_()
        elif self.name == "gaussian":
            # far from the origin rounding makes squares of distances negative, and exp infinite
            product.clamp_(max=0)
        rungs = [product.exp_()]
        for _ in range(self.n_bandwidths - 1):
            rung = rungs[-1].square()
            rungs.append(rung.square_() if self.name == "gaussian" else rung)
        return rungs[::-1]

    def frequencies(self, width: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draws from the Fourier transform of the kernel of bandwidth 1, shape (width, n).

        Raises
        ------
        ValueError
            For the Hamming kernel.
        """
        if self.name == "hamming":
            raise ValueError(_without_features("Hamming"))
        normal = rng.normal(size=(width, n))
        return normal if self.name == "gaussian" else normal / np.abs(rng.normal(size=n))


@dataclass(frozen=True)
class Polynomial:
    r"""Polynomial kernel :math:`(x\cdot y/d + 1)^p`, which sees moments up to order p.

    That of the kernel physics distance (Kansal et al., arXiv:2211.10295), p = 4, and of the
    kernel inception distance (Binkowski et al., arXiv:1801.01401), p = 3. It depends on where
    zero is; neither of them takes a mean off.

    Parameters
    ----------
    degree : int, default 4
        Power p.
    """

    degree: int = 4
    factors = (1.0,)
    is_centered = False

    def label(self, k: int, unit: float) -> str:
        """Words for the kernel."""
        return f"polynomial kernel of degree {self.degree}"

    def encoded(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features themselves."""
        return x, y

    def unit(self, rows: Tensor) -> float:
        """Return 1: there is no bandwidth."""
        return 1.0

    def lay_out(self, z: Tensor, unit: float) -> None:
        """Change rows of shape (n, width + 2) in place into what products need."""
        z[:, :-SPARE] /= math.sqrt(z.shape[1] - SPARE)
        z[:, -2], z[:, -1] = 1, 0

    def mirrored(self, z: Tensor) -> Tensor:
        """Rows for the other side of a product."""
        return z

    def values(self, product: Tensor) -> list[Tensor]:
        """Kernel from products of rows, which it overwrites."""
        return [product.pow_(self.degree)]

    def frequencies(self, width: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Raise: a kernel that is no function of differences has no Fourier transform."""
        raise ValueError(_without_features("polynomial"))


Kernel = Radial | Polynomial
_RADIAL = ("gaussian", "laplace", "hamming")


def as_kernel(kernel: str | Kernel) -> Kernel:
    """Return the kernel itself, or the one of that name with its defaults.

    Raises
    ------
    ValueError
        For a name that no kernel has.
    """
    if isinstance(kernel, get_args(Kernel)):
        return kernel
    if kernel == "polynomial":
        return Polynomial()
    if kernel not in _RADIAL:
        raise ValueError(f"kernel is one of {(*_RADIAL, 'polynomial')}, got {kernel!r}")
    return Radial(str(kernel))


def median_distance(rows: Tensor) -> float:
    """Median distance between the rows, shape (n, d); their mean or 1 where it is zero."""
    distances = torch.pdist(rows)
    median, mean = distances.median().item(), distances.mean().item()
    return median or mean or 1.0


def _without_features(name: str) -> str:
    return (
        f"the {name} kernel has no random Fourier features: leave features=None, or take the "
        "gaussian or the laplace kernel"
    )
