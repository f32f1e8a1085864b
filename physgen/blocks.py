"""Events from a model in aligned blocks, so that none depends on how many are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom
from physgen.transforms import Array

__all__ = ["checked", "piece_size", "sample_in_blocks"]

# Events are always made in whole blocks, aligned to the event number: a matrix product of another
# height may round differently, and event i must not depend on how many are asked for.
BLOCK_CPU = 256
BLOCK_CUDA = 16_384

# a piece of a stream: whole blocks, few enough that a slow model loses little when it is killed
_MAX_PIECE, _PIECE_BYTES = 1 << 16, 1 << 25


def _block(device: torch.device) -> int:
    return BLOCK_CUDA if device.type == "cuda" else BLOCK_CPU


def piece_size(model: nn.Module, preprocessor: Preprocessor) -> int:
    """Events that a stream makes at once: 65,536, fewer of many features, one block at least."""
    block = _block(next(model.parameters()).device)
    n_events = _PIECE_BYTES // (4 * max(1, preprocessor.spec.n_features))
    return max(block, min(_MAX_PIECE, n_events) // block * block)


def sample_in_blocks(
    model: nn.Module,
    preprocessor: Preprocessor,
    n_events: int,
    given: Mapping[str, Array],
    *,
    seed: int,
    first: int,
    effort: Mapping[str, Any],
) -> Tensor:
    """Events ``first`` to ``first + n_events`` of a seed, of shape (n_events, n_features)."""
    device = next(model.parameters()).device
    block = _block(device)
    parts = []
    for start in range(first - first % block, first + n_events, block):
        # rows before the first and after the last event are made and thrown away
        rows = np.clip(np.arange(start, start + block) - first, 0, n_events - 1)
        numbers = torch.arange(start, start + block, device=device)
        condition = preprocessor.condition(
            {name: values[rows] for name, values in given.items()},
            block,
            rng=PhiloxRandom(seed, numbers, stream=1),
        ).to(device)
        x = model.sample(block, condition, rng=PhiloxRandom(seed, numbers), **effort)  # type: ignore[operator]  # nn.Module hides methods
        low, high = max(first - start, 0), min(first + n_events - start, block)
        parts.append(x[low:high].cpu())
    return checked(model, torch.cat(parts), (n_events, preprocessor.spec.n_features))


def checked(model: nn.Module, x: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """The events, if they have the shape that was wanted and are finite."""
    kind, n_events = type(model).__name__, wanted[0]
    if tuple(x.shape) != wanted:
        raise RuntimeError(
            f"{kind}.sample gives a tensor of shape {tuple(x.shape)} for these events, and "
            f"(events, features) are {wanted}"
        )
    bad = (~torch.isfinite(x)).any(dim=1).nonzero()[:, 0]
    if len(bad):
        raise RuntimeError(
            f"{kind} made NaN or infinite numbers for {len(bad)} of "
            f"{n_events} events (first: {', '.join(map(str, bad[:5].tolist()))}); train again "
            "with a lower learning rate, or keep the conditions inside the trained range"
        )
    return x
