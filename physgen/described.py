"""A surrogate in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from physgen import storage
from physgen.conditions import in_words

if TYPE_CHECKING:
    from physgen.surrogate import Surrogate

__all__ = ["describe"]


def describe(surrogate: Surrogate) -> str:
    """Say in a few lines what a surrogate makes, from what it learned and how."""
    info, training = surrogate.info, surrogate.info.get("training", {})
    spans = [f"  {n}: {in_words(span)}" for n, span in surrogate.conditions.ranges.items()]
    used = ", ".join(
        f"{k} {training[k]}" for k in ("epochs", "steps", "budget") if training.get(k)
    )
    settings = storage.model_to_dict(surrogate.settings, surrogate.model)
    losses = [
        f"  {player}: {values[-1]:.4g}"
        + (
            f" (held out {held_out[-1]:.4g})"
            if (held_out := surrogate.history.validation.get(player))
            else ""
        )
        for player, values in surrogate.history.losses.items()
    ]
    versions = ", ".join(f"{k} {v}" for k, v in info.get("versions", {}).items())
    lines = [
        repr(surrogate),
        *(["conditions and their trained ranges:", *spans] if spans else []),
        f"model: {', '.join(f'{k} {v}' for k, v in settings.items())}",
        f"trained on {info.get('n_events', 0):,} events, seed {info.get('seed')} ({used})",
        "last loss:", *losses,
        f"made with {versions}",
        *filter(None, [surrogate.history.describe()]),
    ]  # fmt: skip
    return "\n".join(lines)
