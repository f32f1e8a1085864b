"""Which Markov moves fit which features."""

from __future__ import annotations

import dataclasses

import torch

from physgen import mcmc
from physgen.models.base import TensorSpec

__all__ = ["OF_NUMBERS", "OF_SPINS", "EnergyKernel", "fitting_kernel", "reversible", "stretched"]

OF_NUMBERS = (mcmc.Langevin, mcmc.HMC)
OF_SPINS = (mcmc.SingleFlip, mcmc.Gibbs, mcmc.InformedFlip)
EnergyKernel = mcmc.Langevin | mcmc.HMC | mcmc.SingleFlip | mcmc.Gibbs | mcmc.InformedFlip


def fitting_kernel(
    chosen: mcmc.Kernel | None, spec: TensorSpec, *, default: mcmc.Kernel
) -> mcmc.Kernel:
    """Return the kernel chosen by the user or, without one, by the features.

    Parameters
    ----------
    chosen : Kernel or None
    spec : TensorSpec
    default : Kernel
        For real features; binary ones are moved by SingleFlip, and both kinds in turn.

    Raises
    ------
    ValueError
        If the kernel moves features of the other kind.
    """
    if chosen is not None:
        _require_fit(chosen, spec)
        return chosen
    if spec.n_binary == 0:
        return default
    if spec.n_binary == spec.n_features:
        return mcmc.SingleFlip()
    real = tuple(i for i, binary in enumerate(spec.binary) if not binary)
    spins = tuple(i for i, binary in enumerate(spec.binary) if binary)
    return mcmc.Blocks(kernels=(default, mcmc.SingleFlip()), columns=(real, spins))


def _require_fit(kernel: mcmc.Kernel, spec: TensorSpec) -> None:
    name = type(kernel).__name__
    if isinstance(kernel, OF_NUMBERS) and spec.n_binary:
        raise ValueError(
            f"EBM with kernel {name} needs real features, but {spec.n_binary} of the "
            f"{spec.n_features} are binary (-1, +1); leave kernel=None or, for spins alone, use "
            "SingleFlip(), Gibbs() or InformedFlip()"
        )
    if isinstance(kernel, OF_SPINS) and spec.n_binary < spec.n_features:
        raise ValueError(
            f"EBM with kernel {name} needs binary features (-1, +1), but only {spec.n_binary} "
            f"of the {spec.n_features} are; leave kernel=None or, for real features alone, use "
            "Langevin() or HMC()"
        )
    if isinstance(kernel, mcmc.HMC) and isinstance(kernel.inverse_mass, torch.Tensor):
        raise ValueError(
            "EBM with kernel HMC takes one number as inverse_mass: the features have a variance "
            "of about 1, and a tensor cannot be saved with the settings"
        )
    if isinstance(kernel, mcmc.Gibbs) and tuple(kernel.values) != (-1, 1):
        raise ValueError(
            f"EBM with kernel Gibbs has binary features of -1 and +1, got values={kernel.values}; "
            "leave values as they are"
        )


def reversible(kernel: mcmc.Kernel) -> mcmc.Kernel:
    """The kernel in detailed balance with its energy: Langevin gets the Metropolis test.

    Raises
    ------
    ValueError
        If its moves in turn are not reversible.
    """
    if isinstance(kernel, mcmc.Gibbs) and kernel.sweep:
        raise ValueError(
            "Gibbs(sweep=True) visits the spins in order, which is not reversible, so it cannot "
            "be a proposal; use Gibbs(sweep=False) and more steps"
        )
    return exact(kernel)


def exact(kernel: mcmc.Kernel) -> mcmc.Kernel:
    """The kernel that leaves the law of its energy as it is: Langevin gets the Metropolis test."""
    if isinstance(kernel, mcmc.Langevin):
        return dataclasses.replace(kernel, adjust=True)
    if isinstance(kernel, mcmc.Blocks):
        return dataclasses.replace(kernel, kernels=tuple(exact(k) for k in kernel.kernels))
    return kernel


def stretched(kernel: mcmc.Kernel, factor: float) -> mcmc.Kernel:
    """The kernel of real features for a law that is wider by this factor."""
    if isinstance(kernel, mcmc.Langevin):
        return dataclasses.replace(kernel, step_size=kernel.step_size * factor**2)
    if isinstance(kernel, mcmc.HMC):
        return dataclasses.replace(kernel, step_size=kernel.step_size * factor)
    return kernel
