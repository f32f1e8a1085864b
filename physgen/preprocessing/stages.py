"""In which groups the features are made: what is flat, then the shapes of arrays, then clouds.

A transform that has ``n_first`` (energies of a shower) gives so many of its features to what is
made before, and the rest is a group of its own, an array of the ``stage_shape`` with the axes
``periodic``. A cloud is a group, too: rows whose number is known before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from physgen.preprocessing.cloud import Cloud
from physgen.schema import Schema
from physgen.tensor_spec import Rows, TensorSpec
from physgen.transforms import Constant, Count, Integer, Linear, OneHot, Transform

__all__ = ["spec_of"]


def spec_of(
    schema: Schema,
    transforms: Mapping[str, Transform],
    conditions: Sequence[str],
    generated: Sequence[str],
    clouds: Mapping[str, Cloud],
) -> TensorSpec:
    """Spec of the tensors of these columns, in the order of ``generated``, then clouds."""
    n_conditions = sum(len(transforms[n].binary) for n in conditions)
    groups = _Groups(n_conditions)
    for name in generated:
        transform = transforms[name]
        first = getattr(transform, "n_first", None)
        if first is None:
            groups.add(transform.binary)
        else:
            groups.add(transform.binary[:first])
            groups.close()
            groups.add(transform.binary[first:])
            groups.close(shape=transform.stage_shape, periodic=transform.periodic)  # type: ignore[attr-defined]  # those with n_first have them
    groups.close()
    for cloud in clouds.values():
        groups.add(cloud.binary)
        width = len(cloud.binary) // max(cloud.n_max, 1)
        groups.close(
            shape=(cloud.n_max, width) if width else (),
            rows=_rows(cloud, transforms, conditions, generated),
        )
    whole, parts = groups.binary, groups.stages
    if len(parts) == 1:
        return parts[0] if parts[0].shape else _flat(schema, transforms, generated, parts[0])
    return TensorSpec(
        n_features=len(whole),
        n_conditions=n_conditions,
        binary=whole,
        one_hot=_one_hot(transforms, generated),
        stages=tuple(parts),
    )


class _Groups:
    """Features so far, and the stages that are complete."""

    def __init__(self, n_conditions: int) -> None:
        self.n_conditions = n_conditions
        self.binary: tuple[bool, ...] = ()
        self.stages: list[TensorSpec] = []
        self._open: tuple[bool, ...] = ()

    def add(self, binary: tuple[bool, ...]) -> None:
        self._open += tuple(binary)

    def close(
        self,
        *,
        shape: tuple[int, ...] = (),
        periodic: tuple[bool, ...] = (),
        rows: Rows | None = None,
    ) -> None:
        if not self._open:
            return
        self.stages.append(
            TensorSpec(
                n_features=len(self._open),
                n_conditions=self.n_conditions + len(self.binary),
                binary=self._open,
                shape=shape,
                periodic=periodic,
                rows=rows,
            )
        )
        self.binary += self._open
        self._open = ()


def _flat(
    schema: Schema, transforms: Mapping[str, Transform], generated: Sequence[str], spec: TensorSpec
) -> TensorSpec:
    """Spec of one group of flat columns or of one array."""
    shape = _array_shape(schema, transforms, generated, spec.n_features)
    lattice = bool(shape) and all(spec.binary)
    said = schema.conventions.get("hamiltonian", "")
    return TensorSpec(
        n_features=spec.n_features,
        n_conditions=spec.n_conditions,
        binary=spec.binary,
        one_hot=_one_hot(transforms, generated),
        shape=shape,
        periodic=(lattice and " open" not in said,) * len(shape),
        bounds=_bounds(transforms, generated) if shape else None,
    )


def _array_shape(
    schema: Schema, transforms: Mapping[str, Transform], generated: Sequence[str], n_features: int
) -> tuple[int, ...]:
    """Shape of the one array column that all features stand for, or nothing."""
    arrays = [n for n in generated if transforms[n].binary]
    if len(arrays) != 1 or arrays[0] not in schema:
        return ()
    shape = schema[arrays[0]].shape
    return shape if math.prod(shape) == n_features else ()


def _bounds(
    transforms: Mapping[str, Transform], generated: Sequence[str]
) -> tuple[float, float] | None:
    """Smallest and largest value of the one array, if it is a picture."""
    (array,) = (transforms[n] for n in generated if transforms[n].binary)
    return array.bounds if isinstance(array, Integer) else None


def _one_hot(
    transforms: Mapping[str, Transform], generated: Sequence[str]
) -> tuple[tuple[int, int], ...]:
    """First feature and number of values of each categorical unit."""
    units: list[tuple[int, int]] = []
    start = 0
    for name in generated:
        transform = transforms[name]
        if isinstance(transform, OneHot):
            q = len(transform.values)
            units += [(start + q * i, q) for i in range(transform.n_units)]
        start += len(transform.binary)
    return tuple(units)


def _rows(
    cloud: Cloud,
    transforms: Mapping[str, Transform],
    conditions: Sequence[str],
    generated: Sequence[str],
) -> Rows | None:
    """Where the number of rows of a cloud stands, if it went through a linear transform."""
    transform = transforms[cloud.counter]
    feature = 0
    for name in (*conditions, *generated):
        if name == cloud.counter:
            break
        feature += len(transforms[name].binary)
    if isinstance(transform, Count):
        transform = transform.inner
    if isinstance(transform, Linear):
        return Rows(feature, transform.mean, transform.std, cloud.n_max, bool(cloud.descending))
    if isinstance(transform, Constant):
        return Rows(0, float(cloud.n_max), 0.0, cloud.n_max, bool(cloud.descending))
    return None
