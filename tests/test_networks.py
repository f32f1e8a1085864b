"""Networks: widths, gradients, and the start at zero."""

import pytest
import torch
from torch import nn

from physgen.networks.mlp import MLP, ResidualMLP


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
