"""What several models refuse."""

from __future__ import annotations

from physgen.tensor_spec import TensorSpec

__all__ = ["refuse_one_hot"]


def refuse_one_hot(kind: str, spec: TensorSpec) -> None:
    """Refuse categorical units in models that draw binary features one by one."""
    if spec.one_hot:
        raise ValueError(
            f"{kind} draws binary features one by one and cannot keep exactly one of a unit's "
            f"{spec.one_hot[0][1]} values; use RBM, or the transform Categories in place of OneHot"
        )
