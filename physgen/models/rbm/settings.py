"""Settings of a restricted Boltzmann machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from physgen.checks import require_non_negative, require_positive
from physgen.models.base import TensorSpec
from physgen.models.rbm.chains import CD, PCD, FastPCD, TemperedPCD
from physgen.models.rbm.layers import Binary

if TYPE_CHECKING:
    from physgen.models.rbm.model import RBMModel

__all__ = ["RBM"]


@dataclass(frozen=True, kw_only=True)
class RBM:
    """Settings of a restricted Boltzmann machine.

    Parameters
    ----------
    n_hidden : int, default 128
        Number of hidden units.
    chains : CD, PCD, FastPCD or TemperedPCD, default PCD()
        How the machine is sampled in training.
    visible : "ising" or "bernoulli", default "ising"
        Values of the binary features inside the machine, -1 and +1 or 0 and 1: the same laws,
        learned along other ways.
    hidden : "ising" or "bernoulli", default "ising"
        Values of the hidden units.
    n_steps_sample : int, default 100
        Block Gibbs steps from a persistent chain to a generated event.
    learning_rate : float, default 1e-2
        Peak rate of Adam; its warm-up and decay are those of the training.
    centered : bool, default True
        Centered gradient: the couplings learn from deviations from the means of the units.
    l1 : float, default 0
        Weight, in the loss, of the sum of the absolute couplings.
    l2 : float, default 0
        Weight, in the loss, of half the sum of the squared couplings.
    flip_symmetric : bool, default False
        The law does not change when all binary features change their sign (Z2 of spins without a
        field): all biases are 0, and a sample has either sign with probability 1/2.
    translation_symmetric : bool, default False
        The law does not change under translations of a periodic lattice: the couplings are
        filters, each of which makes a hidden unit at every site. n_hidden is a multiple of the
        number of sites.
    filter_size : int, default 0
        Side of the filters, in sites; 0 for the whole lattice. Odd, so that a filter has a center.
    n_snapshots : int, default 24
        Machines kept along the training for trajectory tempering; 0 keeps none.

    References
    ----------
    Hinton, *A practical guide to training restricted Boltzmann machines*, UTML TR 2010-003.
    Montavon and Müller, LNCS 7700 (2012) 621 and Melchior, Fischer and Wiskott, J. Mach. Learn.
    Res. 17 (2016) 99 (centered gradient). Liao et al., arXiv:2210.10318 (Gaussian visible units
    with learned widths).
    """

    n_hidden: int = 128
    chains: CD | PCD | FastPCD | TemperedPCD = PCD()  # noqa: RUF009  # frozen
    visible: Binary = "ising"
    hidden: Binary = "ising"
    n_steps_sample: int = 100
    learning_rate: float = 1e-2
    centered: bool = True
    l1: float = 0.0
    l2: float = 0.0
    flip_symmetric: bool = False
    translation_symmetric: bool = False
    filter_size: int = 0
    n_snapshots: int = 24

    def __post_init__(self) -> None:
        if not isinstance(self.chains, CD | PCD | FastPCD | TemperedPCD):
            raise TypeError(
                "RBM: chains must be made by CD(), PCD(), FastPCD() or TemperedPCD() of "
                f"physgen.models, such as chains=PCD(n_steps=10), got {self.chains!r}"
            )
        require_positive(self, "n_hidden", "n_steps_sample", "learning_rate")
        require_non_negative(self, "l1", "l2", "n_snapshots", "filter_size")
        if self.filter_size and not (self.translation_symmetric and self.filter_size % 2):
            raise ValueError(
                "RBM: filter_size is an odd number and goes with translation_symmetric=True, got "
                f"{self.filter_size} and {self.translation_symmetric}"
            )
        for name in ("visible", "hidden"):
            if getattr(self, name) not in get_args(Binary):
                raise ValueError(
                    f"RBM: {name} must be 'ising' or 'bernoulli', got {getattr(self, name)!r}"
                )

    def build(self, spec: TensorSpec) -> RBMModel:
        """Build the machine for tensors of this shape; refuses a symmetry that they cannot have.

        Raises
        ------
        ValueError
            If a symmetry is asked for that the units do not have.
        """
        from physgen.models.rbm.model import RBMModel

        self._check_symmetries(spec)
        return RBMModel(self, spec)

    def _check_symmetries(self, spec: TensorSpec) -> None:
        all_spins = all(spec.binary) and not spec.one_hot
        if self.flip_symmetric and not (all_spins and self.visible == self.hidden == "ising"):
            raise ValueError(
                "RBM: flip_symmetric needs binary features only, with visible and hidden units "
                f"'ising'; {spec.n_features - spec.n_binary} features are real, "
                f"{len(spec.one_hot)} units have several values, visible={self.visible!r}, "
                f"hidden={self.hidden!r}"
            )
        if not self.translation_symmetric:
            return
        if not (all_spins and spec.shape):
            raise ValueError(
                "RBM: translation_symmetric needs one array of binary features, such as the spins "
                f"of a lattice; these features have the shape {spec.shape or 'of no array'}"
            )
        if self.filter_size > min(spec.shape):
            raise ValueError(
                f"RBM: filter_size {self.filter_size} is larger than the lattice {spec.shape}"
            )
        if self.n_hidden % spec.n_features:
            raise ValueError(
                f"RBM: with translation_symmetric, n_hidden must be a multiple of the "
                f"{spec.n_features} sites of the lattice, got {self.n_hidden}"
            )
