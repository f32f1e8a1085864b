"""Particles of a jet, measured by what they are together: their sum, their axis, their width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from physgen.events import Events
from physgen.transforms import Array, ByCategory, Columns, Quantile, Transform

__all__ = ["Frame", "frame_of"]

_ENDINGS = ("eta_rel", "phi_rel", "pt_rel")
# of the normal score of one place: tails of some 10,000 jets need no more
_N_KNOTS = 64
# steps to the power of the ratios, and the largest one
N_NEWTON, MAX_POWER = 20, 100.0


@dataclass(frozen=True)
class Frame:
    r"""Coordinates of particles in which the sums that make jets what they are stay apart.

    With momentum shares p_i and positions :math:`r_i = (\eta_i, \phi_i)` relative to the jet,

    .. math:: S = \sum_i p_i, \qquad \bar r = \tfrac1S \sum_i p_i r_i, \qquad
              w^2 = \tfrac1S \sum_i p_i |r_i - \bar r|^2

    are columns like any others, which are made first; where momenta fall, so is the share of the
    hardest particle, :math:`z_1 = p_1/S`. A cloud then holds :math:`(r_i - \bar r)/w`, and of the
    momenta :math:`q_i = p_i/p_{i-1}` where they fall, or else all shares. The way back divides by
    the S, r and w that the generated particles have, so that these are exactly those made first;
    and so, up to fourth powers of the angles, is the mass of the particles, :math:`w S` in units
    of the momentum of the jet. Where momenta fall, :math:`q_i^a` takes the place of :math:`q_i`,
    with the one power a for which the shares of all particles add up to 1: so :math:`z_1` holds,
    too, and so does the order.

    A model of a cloud alone gets the mass and the axis of all particles wrong by the sum of what
    it gets wrong in each. In these coordinates it only has to share them out.

    Parameters
    ----------
    collection : str
        Its name.
    eta, phi, pt : str
        Its fields.
    ordered : bool
        Whether momenta fall in every event.
    ranges : tuple of (float, float)
        Smallest and largest value of the three fields in training; what is made lies between.
    """

    collection: str
    eta: str
    phi: str
    pt: str
    ordered: bool
    ranges: tuple[tuple[float, float], ...]

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Frame:
        """Rebuild from ``dataclasses.asdict``, after JSON."""
        return cls(**dict(stored) | {"ranges": tuple((a, b) for a, b in stored["ranges"])})

    @property
    def columns(self) -> tuple[str, ...]:
        """Internal names of S, both coordinates of the axis, w and z_1; no file has these."""
        return (
            f"sum({self.pt})",
            f"mean({self.eta})",
            f"mean({self.phi})",
            f"width({self.collection})",
            *((f"first({self.pt})",) if self.ordered else ()),
        )

    @property
    def place(self) -> str:
        """Internal name of the place that a particle has in its event, from 0."""
        return f"place({self.collection})"

    @property
    def fields(self) -> tuple[str, str, str]:
        """Names of the fields that are measured so."""
        return self.eta, self.phi, self.pt

    def transform(self) -> Transform:
        """Transform of a field in these coordinates: a normal score, for each place its own."""
        return ByCategory(self.place, n_knots=_N_KNOTS) if self.ordered else Quantile()

    def measure(self, events: Events) -> dict[str, Array]:
        """S, axis, w and z_1 of each event, by the names of :attr:`columns`; 0 without entries."""
        _, (eta, phi, pt) = _padded(events, self.fields)
        found = _moments(eta, phi, pt)
        first = _ratio(pt.max(axis=1, initial=0.0), found[0])
        return dict(zip(self.columns, (*found, first), strict=False))

    def forward(self, values: Columns, mask: Array, others: Columns) -> dict[str, Array]:
        """Fields of all entries, in these coordinates.

        Parameters
        ----------
        values : mapping of str to array of shape (n_entries,)
            The fields, as they are in the file.
        mask : array of shape (n_events, n_max)
            Which rows are entries.
        others : mapping of str to array of shape (n_events,)
            With S, axis, w and z_1.
        """
        eta, phi, pt = (_rows(values[n], mask) for n in self.fields)
        total, mean_eta, mean_phi, width = (others[n][:, None] for n in self.columns[:4])
        if self.ordered:
            momenta = _ratio(pt, np.concatenate((pt[:, :1], pt[:, :-1]), axis=1))
        else:
            momenta = _ratio(pt, total)
        found = (_ratio(eta - mean_eta, width), _ratio(phi - mean_phi, width), momenta)
        return {n: v[mask] for n, v in zip(self.fields, found, strict=True)}

    def inverse(self, values: Columns, mask: Array, others: Columns) -> dict[str, Array]:
        """Fields of all entries as they are in the file, with the sums that ``others`` tell."""
        eta, phi, momenta = (_rows(values[n], mask) for n in self.fields)
        total, mean_eta, mean_phi, width, *first = (others[n][:, None] for n in self.columns)
        pt = _falling(momenta, mask, first[0]) if self.ordered else momenta
        made_total, made_eta, made_phi, made_width = (m[:, None] for m in _moments(eta, phi, pt))
        scale = _ratio(width, made_width)
        found = (
            mean_eta + scale * (eta - made_eta),
            mean_phi + scale * (phi - made_phi),
            pt * _ratio(total, made_total),
        )
        return {
            name: np.clip(rows[mask], *seen)
            for name, rows, seen in zip(self.fields, found, self.ranges, strict=True)
        }


def frame_of(
    collection: str, members: Sequence[str], events: Events, ordered_by: str
) -> Frame | None:
    """Frame of a collection whose fields are called as those of JetNet's particles, or None.

    Their names end in ``eta_rel``, ``phi_rel`` and ``pt_rel``, and all momenta are above zero.
    """
    named = [[n for n in members if n.endswith(ending)] for ending in _ENDINGS]
    if any(len(names) != 1 or events.schema[names[0]].dtype[:5] != "float" for names in named):
        return None
    eta, phi, pt = (names[0] for names in named)
    mask, rows = _padded(events, (eta, phi, pt))
    if not mask.any() or not all(np.isfinite(r).all() for r in rows) or rows[2][mask].min() <= 0:
        return None
    ranges = tuple((float(r[mask].min()), float(r[mask].max())) for r in rows)
    return Frame(collection, eta, phi, pt, ordered_by == pt, ranges)


def _padded(events: Events, names: Sequence[str]) -> tuple[Array, list[Array]]:
    """Mask and rows of jagged columns, zeros behind; in double precision."""
    import awkward as ak

    counts = events.multiplicity(names[0])
    mask = np.arange(counts.max(initial=0)) < counts[:, None]
    flat = (ak.flatten(events[n]).to_numpy().astype(np.float64) for n in names)
    return mask, [_rows(values, mask) for values in flat]


def _rows(values: Array, mask: Array) -> Array:
    rows = np.zeros(mask.shape)
    rows[mask] = values
    return rows


def _moments(eta: Array, phi: Array, pt: Array) -> tuple[Array, Array, Array, Array]:
    """Sum, both coordinates of the axis, and width, of padded rows."""
    total = pt.sum(axis=1)
    shares = _ratio(pt, total[:, None])
    mean_eta, mean_phi = (shares * eta).sum(axis=1), (shares * phi).sum(axis=1)
    square = np.square(eta - mean_eta[:, None]) + np.square(phi - mean_phi[:, None])
    return total, mean_eta, mean_phi, np.sqrt((shares * square).sum(axis=1))


def _falling(ratios: Array, mask: Array, first: Array) -> Array:
    """Shares with these ratios of each to the one before it, to a common power; see Frame."""
    falls = np.cumsum(np.log(np.where(mask, ratios, 1.0)), axis=1)
    log_first = np.log(np.where(first > 0, first, 1.0))
    power = np.zeros(first.shape)
    # ln of the sum over exp(power * falls) is convex and falls with the power, so that Newton's
    # steps from 0 come up to the power at which it is -ln first, and never beyond
    for _ in range(N_NEWTON):
        shares = np.where(mask, np.exp(power * falls), 0.0)
        total = np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
        slope = (shares * falls).sum(axis=1, keepdims=True) / total
        power = np.clip(power + _ratio(np.log(total) + log_first, -slope), 0.0, MAX_POWER)
    return np.where(mask, np.exp(power * falls), 0.0)


def _ratio(above: Array, below: Array) -> Array:
    """Quotient, and 0 where the divisor is 0: behind the last entry, or for one alone."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
