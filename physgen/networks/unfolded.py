"""A network for arrays that starts from a vector: for generators and decoders."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from physgen.networks.mlp import MLP, Perceptron
from physgen.networks.set_transformer import SetTransformer
from physgen.networks.unet import UNet
from physgen.networks.voxel_transformer import VoxelTransformer
from physgen.tensor_spec import TensorSpec

__all__ = ["ArrayNetwork", "Unfolded", "array_network"]

ArrayNetwork = Perceptron | UNet | VoxelTransformer | SetTransformer

# width of the context that the network gets
_N_CONTEXT = 128


def array_network(chosen: ArrayNetwork | None, spec: TensorSpec) -> ArrayNetwork | None:
    """Network for the features of a spec, None where they are no array or none is known for it.

    Parameters
    ----------
    chosen : Perceptron, UNet, VoxelTransformer or SetTransformer, optional
        The user's choice; by default a voxel transformer for arrays of three axes.
    spec : TensorSpec
    """
    if chosen is not None and spec.shape:
        return chosen
    return VoxelTransformer() if len(spec.shape) == 3 and spec.rows is None else None


class Unfolded(nn.Module):
    """Shows a vector to a network for arrays, as an array and as its context.

    Parameters
    ----------
    spec : TensorSpec
    n_latent : int
        Latent or noise variables; behind them in the vector comes the condition.
    n_outputs : int
        Arrays to make.
    network : Perceptron, UNet, VoxelTransformer or SetTransformer
    """

    def __init__(
        self, spec: TensorSpec, n_latent: int, n_outputs: int, network: ArrayNetwork
    ) -> None:
        super().__init__()
        self.n_latent = n_latent
        n_given = n_latent + spec.n_conditions
        self.image = nn.Linear(n_given, spec.n_features)
        self.context = MLP(n_given, _N_CONTEXT, n_hidden=_N_CONTEXT, n_layers=1)
        self.network = network.build(spec, _N_CONTEXT, n_outputs=n_outputs)

    def forward(self, given: Tensor) -> Tensor:
        """Map (n, n_latent + n_conditions) to (n, n_outputs * n_features)."""
        context = F.silu(self.context(given))
        output: Tensor = self.network(self.image(given), context, given[:, self.n_latent :])
        return output
