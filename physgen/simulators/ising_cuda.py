r"""Bit-coded Ising lattices on a CUDA device, many thousands at a time.

The moves, their probabilities and the order of the sites are those of
:class:`physgen.simulators.farms.BitFarm`: in law both farms are the same Markov chain, so what was
measured of the one (burn-in, spacing) holds for the other. The random numbers differ, so a seed
gives other events on a GPU than on a CPU; on each it always gives the same.

A sweep visits the sites in the order of the lattice, as waves: sites that wait for none of each
other move at once, and every site moves after its earlier neighbors and before its later ones. The
result is bit for bit that of one site after the other. A checkerboard has two waves; where an odd
side joins sites of one color there are a few more, short ones.

Triton is imported with :mod:`physgen.simulators.ising_cuda_kernels`, when a farm is made.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physgen.simulators import bits
from physgen.simulators.lattice import Lattice
from physgen.simulators.spin_model import Rule, SpinModel, flip_probabilities, ordered_spins

__all__ = ["CudaFarm", "check_device", "lanes_for", "waves"]

_MOST_LANES = 1 << 15
# a launch has at most 65,535 rows of programs
_LIMIT = 1 << 23
_FARM_BYTES = 1 << 26
# lattices that are packed, or whose probabilities are cut into bits, at once: the temporary
# arrays stay in the cache
_BLOCK = 1 << 12
# words and sites of one program of `count` and of `unpack`
_COUNT_TILE = (8, 64)
_UNPACK_TILE = (8, 128)


def check_device(device: str) -> None:
    """Refuse a device that is neither "cpu" nor a CUDA device that is here.

    Raises
    ------
    ValueError
        If the name is no CUDA device.
    RuntimeError
        If there is no such device.
    ImportError
        If Triton is missing.
    """
    kind, _, number = device.partition(":")
    if device != "cpu" and (kind != "cuda" or not (number or "0").isdecimal()):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:1' and so on, got {device!r}")
    if kind == "cpu":
        return
    if not torch.cuda.is_available():
        raise RuntimeError(f"device={device!r}: no CUDA device was found; use device='cpu'")
    if int(number or 0) >= torch.cuda.device_count():
        raise RuntimeError(
            f"device={device!r} was asked for, and there are {torch.cuda.device_count()}; the "
            "first is 'cuda:0'"
        )
    if importlib.util.find_spec("triton") is None:
        raise ImportError(
            f"device={device!r} needs Triton, which is not installed: pip install triton, or use "
            "device='cpu'"
        )
    import triton

    if not hasattr(triton.language, "to_tensor"):
        raise ImportError(
            f"device={device!r} needs a newer Triton than {triton.__version__}: upgrade torch, "
            "which brings it, or use device='cpu'"
        )


def lanes_for(n_sites: int) -> int:
    """Lattices of a farm of events: 32,768, or as many as have 2^26 spins (a power of 2).

    Examples
    --------
    >>> lanes_for(32 * 32), lanes_for(256 * 256)
    (32768, 1024)
    """
    fitting = max(64, _FARM_BYTES // n_sites)
    return min(_MOST_LANES, 1 << (fitting.bit_length() - 1))


def waves(lattice: Lattice) -> list[np.ndarray]:
    """Split the order of a sweep into waves whose sites may move at once.

    The wave of a site is one after the latest among its neighbors that come earlier in
    ``lattice.order``, and the first if there is none.

    Returns
    -------
    list of int32 arrays
        Sites, increasing in each wave.

    Examples
    --------
    >>> from physgen.simulators.lattice import square
    >>> [len(wave) for wave in waves(square((4, 4)))]
    [8, 8]
    """
    rank = np.empty(lattice.n_sites, dtype=np.int64)
    rank[lattice.order] = np.arange(lattice.n_sites)
    earlier = rank[lattice.neighbors] < rank[:, None]
    wave = np.zeros(lattice.n_sites, dtype=np.int64)
    while True:
        after = np.where(earlier, wave[lattice.neighbors] + 1, 0).max(axis=1)
        if (after == wave).all():
            return [np.flatnonzero(wave == k).astype(np.int32) for k in range(int(wave.max()) + 1)]
        wave = after


class CudaFarm:
    """Bit-coded lattices under Metropolis or heat-bath moves on a CUDA device.

    A lattice is moved by the Philox words of (seed, its number // 32, site, sweep): its history
    depends on the number of lattices and on the tile in nothing.

    Parameters
    ----------
    model : SpinModel
    beta : array of shape (n_lanes,)
        Inverse temperature of each lattice; n_lanes must be a multiple of 64, at most 2^23.
    rule : {"metropolis", "heat_bath"}
    start : int8 array of shape (n_lanes, n_sites)
        Spins to start from.
    seed : int
    device : str, default "cuda"
    tile : (int, int), default (32, 4)
        Words (a power of 2) and sites of one program; a matter of speed alone.

    Raises
    ------
    ValueError
        If n_lanes is no such number.
    """

    def __init__(
        self,
        model: SpinModel,
        beta: np.ndarray,
        rule: Rule,
        start: np.ndarray,
        seed: int,
        *,
        device: str = "cuda",
        tile: tuple[int, int] = (32, 4),
    ) -> None:
        from physgen.simulators import ising_cuda_kernels

        if len(beta) % 64 or not 0 < len(beta) <= _LIMIT:
            raise ValueError(
                f"n_lanes must be a multiple of 64 of at most {_LIMIT}, got {len(beta)}"
            )
        lattice = model.lattice
        degrees, group = np.unique(lattice.degree, return_inverse=True)
        probability = flip_probabilities(model, beta, rule, degrees)

        def there(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self._kernels = ising_cuda_kernels
        self._model = model
        self._words = there(_packed(start))
        self._neighbors = there(lattice.neighbors)
        self._waves = [there(sites) for sites in waves(lattice)]
        self._group = there(group.astype(np.int32))
        self._ordered = there(-(ordered_spins(model) > 0).astype(np.int32))
        self._planes = there(_planes(probability))
        self._key = there(np.array([seed], dtype=np.uint64).view(np.int64))
        self._n_classes = probability.shape[1]
        self._tile = tile
        self._n_sweeps = 0

    @property
    def n_lanes(self) -> int:
        """Number of lattices."""
        return 32 * self._words.shape[1]

    def sweep(self, n_sweeps: int) -> None:
        """Visit every site of every lattice ``n_sweeps`` times."""
        for number in range(self._n_sweeps, self._n_sweeps + n_sweeps):
            for sites in self._waves:
                self._launch(
                    self._kernels.move,
                    (len(sites), self._tile),
                    *(self._words, self._neighbors, sites, self._group, self._planes, self._key),
                    *(number, len(sites), self._words.shape[1]),
                    N_NEIGHBORS=self._neighbors.shape[1],
                    N_CLASSES=self._n_classes,
                    num_warps=1,
                )
        self._n_sweeps += n_sweeps

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies and order parameters, float64 of shape (n_lanes,)."""
        n_sites, n_words = self._words.shape
        counts = torch.zeros((3, 32 * n_words), dtype=torch.int32, device=self._words.device)
        self._launch(
            self._kernels.count,
            (n_sites, _COUNT_TILE),
            *(self._words, self._neighbors, self._ordered, counts, n_sites, n_words),
            N_NEIGHBORS=self._neighbors.shape[1],
        )
        antiparallel, ups, overlap = counts.cpu().numpy()
        return self._model.energies(antiparallel, ups), 2.0 * overlap / n_sites - 1

    def spins(self) -> np.ndarray:
        """Configurations, int8 of shape (n_lanes, n_sites)."""
        n_sites, n_words = self._words.shape
        spins = torch.empty((32 * n_words, n_sites), dtype=torch.int8, device=self._words.device)
        self._launch(
            self._kernels.unpack, (n_sites, _UNPACK_TILE), self._words, spins, n_sites, n_words
        )
        return spins.cpu().numpy()

    def _launch(
        self, kernel: Any, work: tuple[int, tuple[int, int]], *arguments: Any, **options: Any
    ) -> None:
        n_sites, (width, run) = work
        grid = (-(-n_sites // run), -(-self._words.shape[1] // width))
        with torch.cuda.device_of(self._words):
            # Triton warns where nobody says whether floats may be fused; there are none
            kernel[grid](*arguments, WIDTH=width, RUN=run, enable_fp_fusion=False, **options)


def _packed(start: np.ndarray) -> np.ndarray:
    """Words, int32 of shape (n_sites, n_lanes / 32)."""
    return _by_blocks(lambda lanes: bits.pack((start[lanes] > 0).T), len(start))


def _planes(probability: np.ndarray) -> np.ndarray:
    """Bits of the probabilities, int32 of shape (n_groups, 16, n_classes, n_words, 4)."""
    planes = _by_blocks(
        lambda lanes: bits.flip_planes(probability[..., lanes]), probability.shape[-1]
    )
    n_groups, n_classes, n_levels, n_words = planes.shape
    fours = planes.reshape(n_groups, n_classes, n_levels // 4, 4, n_words)
    return fours.transpose(0, 2, 1, 4, 3)


def _by_blocks(make: Callable[[slice], np.ndarray], n_lanes: int) -> np.ndarray:
    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, n_lanes, _BLOCK):
            yield make(slice(first, first + _BLOCK)).view(np.int32)

    return np.concatenate(list(blocks()), axis=-1)
