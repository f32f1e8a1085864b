"""Showers: energies, centers and widths of the layers of a calorimeter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from physgen.events import Events
from physgen.files.binning import Binning, Layer
from physgen.observables.showers import LayerFeatures, layer_features, total_energy
from physgen.packs.pack import Columns, Pack

__all__ = ["shower_layers", "showers"]

_FIELD = "showers"
_INCIDENT = ("incident_energies", "incident_energy")
_MAX_LAYERS = 12  # layers whose energy is a column of its own, equally spaced where there are more
_N_SHAPES = 3  # layers whose centers and widths are columns, those with the most energy


def showers(events: Events) -> Iterator[Pack]:
    """Find showers with their binning, or at least with their incident energy."""
    schema = events.schema
    incident = next((name for name in _INCIDENT if name in schema), None)
    if _FIELD not in schema or schema[_FIELD].jagged or incident is None:
        return
    if schema[incident].shape or schema[incident].unit != schema[_FIELD].unit:
        return
    layers = shower_layers(events)
    if layers is None:
        yield Pack(
            "showers",
            f"{_FIELD} and {incident}: total / incident energy; read them with "
            "binning='binning.xml' to compare layers, centers and widths",
            (),
            lambda events: {"total / incident energy": _ratio(events, incident)},
        )
        return
    yield Pack(
        "showers",
        f"{_FIELD} have a binning of {len(layers)} layers: total energy, its ratio to "
        f"{incident}, depth, sparsity, energies of at most {_MAX_LAYERS} layers, and centers and "
        f"widths in the {_N_SHAPES} layers with the most energy, as in the CaloChallenge",
        (_FIELD,),
        _observer(layers, incident, _brightest(events, layers)),
    )


def shower_layers(events: Events) -> tuple[Layer, ...] | None:
    """Layers of the field "showers": of its binning, or of the grid of the Par04 layout.

    The rings of a grid have no lengths; their width is 1, a cell.
    """
    schema = events.schema
    if "binning" in schema.conventions:
        binning = Binning.from_schema(schema)
        return binning.layers if schema[_FIELD].shape == (binning.n_voxels,) else None
    if schema.conventions.get("layout") == "par04" and len(schema[_FIELD].shape) == 3:
        n_r, n_phi, n_z = schema[_FIELD].shape
        return tuple(Layer(i, tuple(map(float, range(n_r + 1))), n_phi) for i in range(n_z))
    return None


def _flat(events: Events) -> np.ndarray:
    """Voxels in the order (z, alpha, r), r fastest."""
    e = np.asarray(events[_FIELD])
    return e if e.ndim == 2 else e.transpose(0, 3, 2, 1).reshape(len(e), -1)


def _ratio(events: Events, incident: str) -> np.ndarray:
    energy = np.asarray(events[incident], dtype=np.float64)
    return total_energy(events[_FIELD]) / np.where(energy > 0, energy, 1.0)


def _brightest(events: Events, layers: Sequence[Layer]) -> list[int]:
    """Numbers of the binned layers with the most energy in the first 1,000 events."""
    energy = layer_features(_flat(events[:1000]), layers).energy.mean(axis=0)
    order = [int(k) for k in np.argsort(-energy, kind="stable") if layers[k].n_alpha > 1]
    return sorted(order[:_N_SHAPES])


def _observer(
    layers: Sequence[Layer], incident: str, shapes: Sequence[int]
) -> Callable[[Events], Columns]:
    every = -(-len(layers) // _MAX_LAYERS)

    def observe(events: Events) -> Columns:
        unit = events.schema[_FIELD].unit
        energy = f" [{unit}]" if unit else ""
        f = layer_features(_flat(events), layers)
        columns = {
            f"total energy{energy}": f.energy.sum(axis=1),
            "total / incident energy": _ratio(events, incident),
            "sparsity": 1 - (np.asarray(events[_FIELD]) > 0).reshape(len(events), -1).mean(axis=1),
        }
        columns |= _depth(f)
        for k in range(0, len(layers), every):
            columns[f"energy of layer {layers[k].id}{energy}"] = f.energy[:, k]
        for k in shapes:
            columns |= _shape(f, k, layers[k].id, "mm" if events[_FIELD].ndim == 2 else "cells")
        return columns

    return observe


def _depth(f: LayerFeatures) -> Columns:
    """Mean layer and spread over the layers, weighted by energy."""
    share = f.energy / (f.energy.sum(axis=1, keepdims=True) + 1e-16)
    index = np.arange(f.energy.shape[1])
    mean = share @ index
    width = np.sqrt(np.maximum(share @ index**2 - mean**2, 0.0))
    return {"depth [layers]": mean, "width in depth [layers]": width}


def _shape(f: LayerFeatures, k: int, layer: int, unit: str) -> Columns:
    return {
        f"center in eta of layer {layer} [{unit}]": f.center_eta[:, k],
        f"center in phi of layer {layer} [{unit}]": f.center_phi[:, k],
        f"width in eta of layer {layer} [{unit}]": f.width_eta[:, k],
        f"width in phi of layer {layer} [{unit}]": f.width_phi[:, k],
        f"width in r of layer {layer} [{unit}]": f.width_r[:, k],
        f"sparsity of layer {layer}": f.sparsity[:, k],
    }
