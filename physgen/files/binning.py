"""Voxel binning of the CaloChallenge: layers of rings and angles, from its XML."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from physgen.files.checks import name_problem, printable
from physgen.schema import Schema

__all__ = ["Binning", "Layer"]

_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Layer:
    """One layer: rings in r times equal angles.

    Parameters
    ----------
    id : int
        Number of the layer in the detector.
    r_edges : tuple of float
        Edges of the rings [mm], increasing; n_r + 1 of them.
    n_alpha : int
        Angular bins, equal, from -pi to pi.
    """

    id: int
    r_edges: tuple[float, ...]
    n_alpha: int

    @property
    def n_r(self) -> int:
        """Number of rings; 0 for a layer that is absent."""
        return len(self.r_edges) - 1

    @property
    def n_voxels(self) -> int:
        """Voxels of the layer."""
        return self.n_r * self.n_alpha


@dataclass(frozen=True)
class Binning:
    """Voxels of a shower: layers in z, and in each r fastest, then alpha.

    Parameters
    ----------
    particle : str
        Name of the particle in the XML (``"electron"``, ``"photon"``, ``"pion"``).
    layers : tuple of Layer
        In the order of the voxels; absent layers are left out.

    Examples
    --------
    >>> binning = Binning("electron", tuple(Layer(i, (0.0, 5.0, 10.0), 4) for i in range(3)))
    >>> binning.n_voxels, binning.shape
    (24, (3, 4, 2))
    >>> binning.unflatten(np.zeros((7, 24))).shape
    (7, 3, 4, 2)
    """

    particle: str
    layers: tuple[Layer, ...]

    @property
    def n_voxels(self) -> int:
        """Voxels of all layers."""
        return sum(layer.n_voxels for layer in self.layers)

    @property
    def layer_slices(self) -> tuple[slice, ...]:
        """Voxels of each layer, as slices of the flat shower."""
        edges = np.cumsum([0, *(layer.n_voxels for layer in self.layers)]).tolist()
        return tuple(slice(a, b) for a, b in itertools.pairwise(edges))

    @property
    def is_regular(self) -> bool:
        """Whether all layers have the same bins, so that a shower is a grid."""
        return len({(layer.n_alpha, layer.n_r) for layer in self.layers}) == 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_z, n_alpha, n_r) of a regular binning.

        Raises
        ------
        ValueError
            If the layers differ; use :attr:`layer_slices` then.
        """
        if not self.is_regular:
            raise ValueError(
                f"the layers of {self.particle!r} have different numbers of bins, so a shower is "
                "no (z, alpha, r) grid; go through layer_slices"
            )
        n_alpha, n_r = self.layers[0].n_alpha, self.layers[0].n_r
        return len(self.layers), n_alpha, n_r

    def unflatten(self, showers: np.ndarray) -> np.ndarray:
        """Return showers of shape (n_events, n_voxels) as (n_events, n_z, n_alpha, n_r)."""
        return showers.reshape(len(showers), *self.shape)

    @classmethod
    def from_xml(
        cls,
        path: str | os.PathLike[str],
        *,
        particle: str | None = None,
        n_voxels: int | None = None,
    ) -> Binning:
        """Read a binning file of the CaloChallenge.

        Parameters
        ----------
        path : str or path
            The XML file.
        particle : str, optional
            Which of its particles; needed if several fit.
        n_voxels : int, optional
            Voxels that the binning must have.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no such XML, or no (or more than one) particle fits.
        """
        where = Path(path)
        if not where.is_file():
            raise FileNotFoundError(f"no binning file {path}")
        found = _parse(where.read_bytes()[: _MAX_BYTES + 1], str(path))
        chosen = [b for b in found if particle in (None, b.particle)]
        if particle is not None and not chosen:
            names = ", ".join(b.particle for b in found)
            raise ValueError(f"{path} has no particle {particle!r}; it has {names}")
        fitting = [b for b in chosen if n_voxels in (None, b.n_voxels)]
        if not fitting:
            counts = ", ".join(f"{b.particle} {b.n_voxels}" for b in chosen)
            raise ValueError(
                f"{path} bins {counts} voxels, but the showers have {n_voxels}; it belongs to "
                "another data set"
            )
        if len(fitting) > 1:
            names = ", ".join(b.particle for b in fitting)
            raise ValueError(f"{path} has several particles ({names}); say particle=")
        return fitting[0]

    @classmethod
    def from_schema(cls, schema: Schema) -> Binning:
        """Return the binning that travels with events read with ``binning=``.

        Raises
        ------
        ValueError
            If the schema carries none.
        """
        if "binning" not in schema.conventions:
            raise ValueError(
                "these events carry no binning; read them with read_events(..., binning='x.xml')"
            )
        return _parse(schema.conventions["binning"].encode(), "the schema")[0]

    def to_xml(self) -> str:
        """Return the XML of this binning, in the form of the CaloChallenge."""
        bins = ET.Element("Bins")
        one = ET.SubElement(bins, "Bin", name=self.particle)
        for layer in self.layers:
            edges = ",".join(
                f"{edge:g}" if edge == float(f"{edge:g}") else repr(edge) for edge in layer.r_edges
            )
            ET.SubElement(
                one, "Layer", id=str(layer.id), r_edges=edges, n_bin_alpha=str(layer.n_alpha)
            )
        return ET.tostring(bins, encoding="unicode")


def _parse(text: bytes, where: str) -> Sequence[Binning]:
    try:
        decoded = text.decode("utf-8")
        # a document type can define entities that grow without bound or name other files
        if len(text) > _MAX_BYTES or "<!DOCTYPE" in decoded or "<!ENTITY" in decoded:
            raise ValueError("it is too long or has a document type definition")
        root = ET.fromstring(decoded)
        found = [_binning(node) for node in root.iter("Bin")]
        if not found:
            raise ValueError("it has no <Bin> element")
    except (ET.ParseError, KeyError, ValueError) as error:
        raise ValueError(
            f"{where} is not a binning of the CaloChallenge "
            f"(<Bins><Bin name=...><Layer id=... r_edges=... n_bin_alpha=.../>): "
            f"{printable(str(error), 300)}"
        ) from error
    return found


def _binning(node: ET.Element) -> Binning:
    layers = (_layer(child) for child in node.iter("Layer"))
    present = tuple(layer for layer in layers if layer.n_r > 0)
    if not present:
        raise ValueError(f"particle {node.get('name')!r} has no layers")
    if problem := name_problem(node.get("name", "")):
        raise ValueError(f"a particle has {problem}")
    return Binning(node.get("name", ""), present)


def _layer(node: ET.Element) -> Layer:
    edges = tuple(float(edge) for edge in node.attrib["r_edges"].split(","))
    n_alpha = int(node.attrib["n_bin_alpha"])
    rising = all(a < b for a, b in itertools.pairwise(edges))
    if not rising or not all(map(math.isfinite, edges)) or n_alpha < 1:
        raise ValueError(f"layer {node.get('id')} has edges {edges} and {n_alpha} angles")
    return Layer(int(node.attrib["id"]), edges, n_alpha)
