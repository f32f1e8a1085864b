"""Voxel transformer: patches and their places, the start at zero, turning and mirroring."""

import numpy as np
import pytest
import torch
from torch import nn

from physgen.networks.voxel_transformer import VoxelTransformer, patch_for, roll_and_flip
from physgen.random import GeneratorRandom
from physgen.tensor_spec import Rows, TensorSpec


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spec_of(shape, **known):
    return TensorSpec(n_features=int(np.prod(shape)), shape=shape, **known)


def awake(shape=(4, 4, 3), **settings):
    """A network whose last layers no longer are zero."""
    small = {"n_hidden": 8, "n_blocks": 2, "n_heads": 2} | settings
    net = VoxelTransformer(**small).build(spec_of(shape), 5)
    generator = torch.Generator().manual_seed(1)
    for name, p in net.named_parameters():
        if not p.any() and "weight" in name:
            nn.init.normal_(p, std=0.3, generator=generator)
    return net


@pytest.mark.parametrize("shape", [(6, 4), (4, 4, 3), (1, 5, 2), (7, 3)])
def test_starts_at_zero_with_the_shape_of_its_input(shape):
    net = VoxelTransformer(n_hidden=8, n_blocks=1, n_heads=2).build(spec_of(shape), 5)
    x = noise(3, int(np.prod(shape)))
    out = net(x, noise(3, 5), torch.zeros(3, 0))
    assert out.shape == x.shape
    assert (out == 0).all()
    assert net.double()(x.double(), noise(3, 5).double(), None).dtype == torch.float64


def test_every_parameter_gets_a_gradient():
    net = awake()
    net(noise(64, 48), noise(64, 5), None).square().sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def test_context_and_events():
    net, x, context = awake(), noise(6, 48), noise(6, 5)
    whole = net(x, context)
    assert torch.allclose(whole[2:4], net(x[2:4], context[2:4]), atol=1e-5)
    assert not torch.allclose(whole, net(x, noise(6, 5, seed=2)))


@pytest.mark.parametrize("patch", [(1, 2, 3), (2, 1, 1), (4, 4, 3), (2, 4, 3)])
def test_patches_go_to_tokens_and_back(patch):
    """With an identity in place of the blocks, every voxel comes back to its place."""
    n = int(np.prod(patch))
    net = awake(patch=patch, n_hidden=n, n_heads=1)
    net.blocks = nn.ModuleList()
    for p in net.parameters():
        nn.init.zeros_(p)
    nn.init.eye_(net.first.weight)
    nn.init.eye_(net.last.weight)
    x = noise(2, 48)
    grid = x.view(2, 4 // patch[0], patch[0], 4 // patch[1], patch[1], 3 // patch[2], patch[2])
    mean = grid.mean(dim=(2, 4, 6), keepdim=True)
    std = (grid.var(dim=(2, 4, 6), keepdim=True, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(net(x, noise(2, 5)), ((grid - mean) / std).view(2, 48), atol=1e-5)


def test_a_voxel_reaches_all_others():
    net, context = awake().double(), noise(1, 5).double()
    x = noise(1, 48).double().requires_grad_()
    (reach,) = torch.autograd.grad(net(x, context)[0, 0], x)
    assert (reach != 0).all()


@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((12, 8, 6), (1, 2, 6)),
        ((45, 16, 9), (1, 16, 3)),
        ((3, 2), (1, 1)),
        ((97, 1, 1), (97, 1, 1)),
        ((28, 28), (4, 7)),
    ],
)
def test_patches_by_themselves(shape, patch):
    assert patch_for(shape) == patch
    assert all(n % p == 0 for n, p in zip(shape, patch, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_hidden": 0}, "n_hidden must be positive"),
        ({"n_hidden": 10, "n_heads": 4}, "n_hidden=10 is no multiple of n_heads=4"),
        ({"patch": (0, 1)}, "sides of 1 or more"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        VoxelTransformer(**settings)


@pytest.mark.parametrize(
    ("settings", "spec", "message"),
    [
        ({"patch": (5, 2, 3)}, spec_of((4, 4, 3)), r"\(5, 2, 3\) do not tile an array of \(4, 4"),
        ({"patch": (2, 2)}, spec_of((4, 4, 3)), "do not tile"),
        ({}, TensorSpec(n_features=7), r"the shape \(7,\): use Perceptron\(\)$"),
        ({}, spec_of((5, 2), n_conditions=1, rows=Rows(0, 0.0, 1.0)), r"or SetTransformer\(\)"),
    ],
)
def test_events_that_are_refused(settings, spec, message):
    with pytest.raises(ValueError, match=message):
        VoxelTransformer(**settings).build(spec, 4)


def turned(x, shape, periodic, seed=0):
    rng = GeneratorRandom(torch.Generator().manual_seed(seed))
    return roll_and_flip(x, shape, periodic, rng)


def test_turning_and_mirroring_reach_each_image_equally_often():
    n = 8000
    x = torch.arange(15.0).view(3, 5).flatten().expand(n, 15)
    made = turned(x, (3, 5), (False, True)).view(n, 3, 5)
    assert (made.diff(dim=1) == 5).all()  # the first axis stays, and turns with the second as one
    steps = made[:, 0].diff(dim=1) % 5
    assert ((steps == 1).all(dim=1) | (steps == 4).all(dim=1)).all()
    image = made[:, 0, 0].long() + 5 * (steps[:, 0] == 4).long()
    counts = torch.bincount(image, minlength=10).double()
    expected = n / 10
    assert float(((counts - expected) ** 2).sum() / expected) < 9 + 4 * np.sqrt(18)


def test_axes_that_are_not_periodic_stay():
    x = noise(10, 12)
    assert torch.equal(turned(x, (3, 4), (False, False)), x)
    both = turned(x, (3, 4), (True, True))
    assert not torch.equal(both, x)
    assert torch.equal(both.sort(dim=1).values, x.sort(dim=1).values)
    assert torch.equal(turned(x, (12, 1), (False, True)), x)


@pytest.mark.slow  # torch.export is slow to import
def test_an_exported_graph_takes_any_number_of_events():
    net = awake().eval()
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(
        net, (noise(3, 48), noise(3, 5)), dynamic_shapes=({0: batch}, {0: batch})
    )
    x, context = noise(7, 48, seed=3), noise(7, 5, seed=4)
    assert torch.allclose(program.module()(x, context), net(x, context), atol=1e-6)
