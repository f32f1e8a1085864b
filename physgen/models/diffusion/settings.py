"""Settings of a diffusion model, and the network it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from physgen.checks import require_positive
from physgen.models.base import GenerativeModel
from physgen.models.cascade import cascade
from physgen.models.checks import refuse_one_hot
from physgen.models.diffusion.model import DiffusionModel
from physgen.models.diffusion.paths import EDM, VP, Grid, Linear, Predicts
from physgen.models.diffusion.samplers import SAMPLERS, Sampler
from physgen.networks.mlp import Perceptron
from physgen.networks.set_transformer import SetTransformer
from physgen.networks.unfolded import ArrayNetwork, array_network
from physgen.tensor_spec import TensorSpec

__all__ = ["Diffusion"]


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Settings of a diffusion or flow-matching model.

    Where events come in stages (the energies of a shower, then its shape; the columns of a jet,
    then its particles), each stage has a model of its own.

    Parameters
    ----------
    n_hidden : int, default 256
        Width of the perceptron that flat columns get.
    n_blocks : int, default 3
        Its residual blocks.
    network : Perceptron, UNet, VoxelTransformer or SetTransformer, optional
        Network for arrays and clouds; by default a set transformer for clouds, a voxel
        transformer for arrays of three axes, and the perceptron for all else.
    path : EDM, Linear or VP, default EDM()
        Noise levels in training and sampling.
    predict : {"velocity", "event", "noise"}, default "velocity"
        What the network predicts. With "noise" its error in the event grows with the noise
        level: choose a path with a ``sigma_max`` of about 10.
    sampler : {"heun", "dpm", "euler", "ancestral"}, default "heun"
        How noise becomes an event.
    n_sampling_steps : int, default 24
        Its noise levels; Heun calls the network ``2 n - 1`` times, the others n times.
    coupling : {"independent", "optimal"}, default "independent"
        Which noise an event is mixed with in training: any, or within a batch that of the least
        total distance (arXiv:2302.00482), which straightens the paths; without conditions only.
    drop_condition : float, default 0.0
        Fraction of the events that are shown without their conditions in training, so that the
        sampling can be guided (``guidance=2.0``, arXiv:2207.12598), which makes widths too small.
    symmetric : bool, default True
        Turn and mirror every event at random along the periodic axes of its array (angles of a
        calorimeter), if the network is one for arrays. Set it to False where the detector or
        the field differs along them.
    learning_rate : float, default 2e-3
        Peak rate of Adam for perceptrons ...
    array_learning_rate : float, default 1e-3
        ... and for the networks of arrays and clouds.
    """

    n_hidden: int = 256
    n_blocks: int = 3
    network: ArrayNetwork | None = None
    path: EDM | Linear | VP | Grid = EDM()
    predict: Predicts = "velocity"
    sampler: Sampler = "heun"
    n_sampling_steps: int = 24
    coupling: Literal["independent", "optimal"] = "independent"
    drop_condition: float = 0.0
    symmetric: bool = True
    learning_rate: float = 2e-3
    array_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_positive(self, "n_hidden", "n_blocks", "n_sampling_steps")
        require_positive(self, "learning_rate", "array_learning_rate")
        for name, known in (
            ("sampler", SAMPLERS),
            ("predict", ("velocity", "event", "noise")),
            ("coupling", ("independent", "optimal")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"Diffusion: {name} is one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if not 0 <= self.drop_condition < 1:
            raise ValueError(
                f"Diffusion: drop_condition must be in [0, 1), got {self.drop_condition}"
            )
        if self.coupling == "optimal" and self.sampler == "ancestral":
            raise ValueError(
                "Diffusion: with coupling='optimal' noise and event are not independent, as the "
                "ancestral sampler takes them to be; use sampler='heun'"
            )

    def build(self, spec: TensorSpec) -> GenerativeModel:
        """Build the module for tensors of this spec."""
        refuse_one_hot("Diffusion", spec)
        return cascade(self._build_stage, spec)

    def _build_stage(self, spec: TensorSpec) -> DiffusionModel:
        if self.coupling == "optimal" and spec.n_conditions:
            raise ValueError(
                "Diffusion: coupling='optimal' would mix up conditions (and stages have those "
                "before them as conditions); use coupling='independent'"
            )
        return DiffusionModel(self, spec, self._network(spec))

    def _network(self, spec: TensorSpec) -> ArrayNetwork:
        network = array_network(self.network, spec)
        if network is not None:
            return network
        if spec.rows is not None:
            return SetTransformer()
        return Perceptron(n_hidden=self.n_hidden, n_blocks=self.n_blocks)
