"""Networks: widths, gradients, and the start at zero."""

import math

import pytest
import torch
from torch import nn

from physgen.networks.conv import PeriodicConv
from physgen.networks.mlp import MLP, Perceptron, ResidualMLP
from physgen.networks.set_transformer import SetTransformer
from physgen.networks.unet import UNet
from physgen.networks.voxel_transformer import VoxelTransformer
from physgen.tensor_spec import Rows, TensorSpec


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_mlp_has_the_layers_it_says():
    net = MLP(3, 2, n_hidden=8, n_layers=2, activation=nn.Tanh)
    assert [type(layer) for layer in net] == [nn.Linear, nn.Tanh] * 2 + [nn.Linear]
    assert sum(p.numel() for p in net.parameters()) == (3 * 8 + 8) + (8 * 8 + 8) + (8 * 2 + 2)
    assert net(noise(5, 3)).shape == (5, 2)
    linear = MLP(3, 2, n_layers=0)
    assert len(linear) == 1


def test_residual_mlp_starts_at_zero():
    net = ResidualMLP(3, 2, 4, n_hidden=8, n_blocks=2)
    assert (net(noise(5, 3), noise(5, 4)) == 0).all()


def awake():
    net = ResidualMLP(3, 2, 4, n_hidden=8, n_blocks=2)
    nn.init.normal_(net.last.weight, generator=torch.Generator().manual_seed(1))
    return net


def test_every_parameter_gets_a_gradient():
    net = awake()
    net(noise(64, 3), noise(64, 4)).square().sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def test_the_context_matters():
    net = awake()
    x = noise(5, 3)
    assert not torch.allclose(net(x, noise(5, 4)), net(x, noise(5, 4, seed=2)))


def test_rows_do_not_see_each_other():
    net = awake()
    x, context = noise(6, 3), noise(6, 4)
    whole = net(x, context)
    assert torch.allclose(whole[2:4], net(x[2:4], context[2:4]), atol=1e-6)


@pytest.mark.parametrize("n_blocks", [0, 1, 4])
def test_number_of_blocks(n_blocks):
    net = ResidualMLP(3, 2, 4, n_hidden=8, n_blocks=n_blocks)
    assert len(net.blocks) == n_blocks
    assert net(noise(5, 3), noise(5, 4)).shape == (5, 2)


SHAPES = pytest.mark.parametrize("shape", [(4, 6), (3, 4, 5)])


def lattice_net(shape, n_context=2, **settings):
    return PeriodicConv(shape, n_context, n_channels=5, **settings).double()


def shifted(x, shape):
    """Each lattice moved by 1, 2, ... sites along its axes."""
    axes = tuple(range(1, len(shape) + 1))
    return x.view(-1, *shape).roll(axes, axes).flatten(1)


@SHAPES
@pytest.mark.parametrize("n_layers", [1, 3])
def test_periodic_conv_does_not_see_translations(shape, n_layers):
    net = lattice_net(shape, n_layers=n_layers)
    x, context = noise(7, math.prod(shape)).double(), noise(7, 2).double()
    here, there = net(x, context), net(shifted(x, shape), context)
    assert here.shape == (7,)
    assert torch.allclose(here, there, rtol=0, atol=1e-12)
    assert here.std() > 1e-3
    for convolution in net.convolutions:
        convolution.padding_mode = "zeros"
    assert (net(shifted(x, shape), context) - net(x, context)).abs().max() > 1e-3


@SHAPES
def test_periodic_conv_sees_the_context_and_no_other_row(shape):
    net = lattice_net(shape)
    x, context = noise(6, math.prod(shape)).double(), noise(6, 2).double()
    whole = net(x, context)
    assert torch.allclose(whole[2:4], net(x[2:4], context[2:4]))
    assert not torch.allclose(whole, net(x, context + 1))
    assert len(lattice_net(shape, n_context=0).modulations) == 0


def test_periodic_conv_sees_as_far_as_its_layers_reach():
    """With two layers of width 3, flips four sites apart and more do not know of each other."""
    net = lattice_net((12, 12), n_context=0, n_layers=2)
    x = noise(1, 144).double()
    flip = lambda x, *sites: x * (1 - 2 * sum(torch.eye(144)[s] for s in sites))
    empty = torch.zeros(1, 0)
    both = lambda a, b: (
        net(flip(x, a, b), empty) - net(flip(x, a), empty) - net(flip(x, b), empty) + net(x, empty)
    ).abs()
    assert both(0, 5) < 1e-12
    assert both(0, 4) > 1e-9


def test_every_parameter_of_periodic_conv_gets_a_gradient():
    net = lattice_net((4, 4))
    net(noise(16, 16).double(), noise(16, 2).double()).square().sum().backward()
    for name, p in net.named_parameters():
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    "settings",
    [
        Perceptron(n_hidden=8, n_blocks=1),
        UNet(n_channels=4, n_blocks=1, n_levels=2),
        VoxelTransformer(n_hidden=8, n_blocks=1, n_heads=1, patch=(1, 2, 3)),
        SetTransformer(n_hidden=8, n_blocks=1),
    ],
    ids=lambda s: type(s).__name__,
)
def test_each_of_several_outputs_is_that_of_a_network_of_its_own(settings):
    is_set = isinstance(settings, SetTransformer)
    shape, rows = ((6, 8), Rows(0, 3.0, 1.0)) if is_set else ((2, 4, 6), None)
    spec = TensorSpec(n_features=48, n_conditions=1, shape=shape, rows=rows)
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(5, 48, generator=generator), torch.randn(5, 4, generator=generator)
    condition = torch.arange(5.0)[:, None] - 2
    network = settings.build(spec, 4, n_outputs=3)
    assert network(x, context, condition).shape == (5, 144)
    torch.nn.init.normal_(network.last.weight, generator=generator)
    outputs = network(x, context, condition).chunk(3, dim=1)
    alone = settings.build(spec, 4)
    for k, output in enumerate(outputs):
        state = network.state_dict()
        for name in ("last.weight", "last.bias"):
            state[name] = state[name].chunk(3)[k]
        alone.load_state_dict(state)
        assert torch.allclose(alone(x, context, condition), output, atol=1e-5)
    assert not torch.allclose(outputs[0], outputs[1])
