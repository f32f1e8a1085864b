"""The two networks of the lecture, its noise, and its batches."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = [
    "N_PIXELS",
    "Z_SIZE",
    "Noise",
    "create_noise",
    "make_discriminator_network",
    "make_generator_network",
]

N_PIXELS = 784
Z_SIZE = 20

Noise = Literal["uniform", "normal"]


def make_generator_network(
    input_size: int = 20,
    num_hidden_layers: int = 1,
    num_hidden_units: int = 100,
    num_output_units: int = 784,
) -> nn.Sequential:
    """The lecture's generator: linear layers with leaky ReLU between, pixels from -1 to 1.

    Parameters
    ----------
    input_size : int, default 20
        Numbers of noise per image.
    num_hidden_layers, num_hidden_units : int
        Depth and width.
    num_output_units : int, default 784
        Pixels per image.

    Examples
    --------
    >>> make_generator_network()(torch.zeros(2, 20)).shape
    torch.Size([2, 784])
    """
    model = nn.Sequential()
    for i in range(num_hidden_layers):
        model.add_module(f"fc_g{i}", nn.Linear(input_size, num_hidden_units))
        model.add_module(f"relu_g{i}", nn.LeakyReLU())
        input_size = num_hidden_units
    model.add_module(f"fc_g{num_hidden_layers}", nn.Linear(input_size, num_output_units))
    model.add_module("tanh_g", nn.Tanh())
    return model


def make_discriminator_network(
    input_size: int = 784,
    num_hidden_layers: int = 1,
    num_hidden_units: int = 100,
    num_output_units: int = 1,
) -> nn.Sequential:
    """The lecture's discriminator: half of the hidden units dropped, probability of "real".

    Parameters
    ----------
    input_size : int, default 784
        Pixels per image.
    num_hidden_layers, num_hidden_units : int
        Depth and width; hidden layers have no constant.
    num_output_units : int, default 1

    Examples
    --------
    >>> make_discriminator_network()(torch.zeros(2, 784)).shape
    torch.Size([2, 1])
    """
    model = nn.Sequential()
    for i in range(num_hidden_layers):
        model.add_module(f"fc_d{i}", nn.Linear(input_size, num_hidden_units, bias=False))
        model.add_module(f"relu_d{i}", nn.LeakyReLU())
        # one module for all layers, as in the lecture: of the same name, it stands once
        model.add_module("dropout", nn.Dropout(p=0.5))
        input_size = num_hidden_units
    model.add_module(f"fc_d{num_hidden_layers}", nn.Linear(input_size, num_output_units))
    model.add_module("sigmoid", nn.Sigmoid())
    return model


def create_noise(
    batch_size: int,
    z_size: int = 20,
    mode_z: Noise = "uniform",
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What the generator starts from, (batch_size, z_size): uniform from -1 to 1, or normal.

    Parameters
    ----------
    batch_size, z_size : int
    mode_z : {"uniform", "normal"}
    generator : torch.Generator, optional
        Source; by default torch's global one, as in the lecture.

    Raises
    ------
    ValueError
        For another ``mode_z``.
    """
    if mode_z == "uniform":
        return torch.rand(batch_size, z_size, generator=generator) * 2 - 1
    if mode_z == "normal":
        return torch.randn(batch_size, z_size, generator=generator)
    raise ValueError(f"mode_z must be 'uniform' or 'normal', got {mode_z!r}")
