import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.nn import functional

from ngu.nets import ConvTrunk, VectorTrunk, linear, make_torso, make_trunk
from ngu.precision import autocast, resolve_precision


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(shape):
    return gym.spaces.Box(0, 255, shape, np.uint8)


def bytes_of(shape, seed=1):
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("space", "trunk", "features"),
    [
        (images((1, 84, 84)), ConvTrunk, 7 * 7 * 64),
        (images((84, 84, 4)), ConvTrunk, 7 * 7 * 64),
        (images((84, 84)), ConvTrunk, 7 * 7 * 64),
        (images((36, 36, 3)), ConvTrunk, 64),
        (images((7, 7, 3)), ConvTrunk, 7 * 7 * 32),
        (gym.spaces.Box(0, 1, (3, 21, 21), np.float32), ConvTrunk, 21 * 21 * 32),
        (gym.spaces.Box(-9, 9, (5, 6), np.int32), ConvTrunk, 5 * 6 * 32),
        (gym.spaces.Box(-1, 1, (4,), np.float32), VectorTrunk, 128),
        (gym.spaces.Discrete(5, start=-2), VectorTrunk, 128),
    ],
)
def test_the_space_chooses_the_trunk(space, trunk, features):
    torso = make_torso(space, 10, generator=generator())
    assert isinstance(torso.trunk, trunk)
    assert torso.trunk.out_features == features
    space.seed(0)
    batch = torch.from_numpy(np.stack([np.asarray(space.sample()) for _ in range(6)]))
    out = torso(batch)
    assert out.shape == (6, 10)
    assert out.min() >= 0
    assert out.max() > 0
    nested = torso(batch.reshape(2, 3, *batch.shape[1:]))
    torch.testing.assert_close(nested, out.reshape(2, 3, 10))


def test_channel_axis_does_not_change_the_features():
    first = make_torso(images((3, 64, 48)), 16, generator=generator())
    last = make_torso(images((64, 48, 3)), 16, generator=generator())
    frames = bytes_of((2, 3, 64, 48))
    torch.testing.assert_close(last(frames.permute(0, 2, 3, 1).contiguous()), first(frames))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 84, 84), np.uint8),
        ((4, 84, 84), np.uint8),
        ((84, 84), np.uint8),
        ((84, 84, 3), np.uint8),
        ((97, 66, 3), np.uint8),  # rows and columns are left over
        ((3, 50, 51), np.float32),
        ((2, 64, 64), np.int16),
        ((2, 64, 64), np.int64),
    ],
)
def test_an_image_is_scaled_and_convolved_as_it_is_written(shape, dtype):
    space = gym.spaces.Box(0, 1 if dtype is np.float32 else 255, shape, dtype, seed=0)
    trunk = make_trunk(space, generator=generator())
    batch = torch.from_numpy(np.stack([space.sample() for _ in range(3)]))
    x = batch.float() / float(space.high.max())
    x = x.reshape(3, 1, *shape) if len(shape) == 2 else x
    x = x.permute(0, 3, 1, 2) if shape[-1] == 3 else x
    for layer, stride in zip(trunk.layers, (4, 2, 1), strict=True):
        x = functional.conv2d(x, layer.weight, layer.bias, stride).relu()
    expected = x.permute(0, 2, 3, 1).flatten(1)
    torch.testing.assert_close(trunk(batch), expected)

    loss, reference = (out.square().sum() for out in (trunk(batch), expected))
    weights = [layer.weight for layer in trunk.layers]
    for got, right in zip(
        torch.autograd.grad(loss, weights), torch.autograd.grad(reference, weights), strict=True
    ):
        torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-3)


def test_unscaled_trunk_takes_normalised_observations():
    scaled = make_trunk(images((1, 84, 84)), generator=generator())
    unscaled = make_trunk(images((1, 84, 84)), generator=generator(), scaled=False)
    frames = bytes_of((2, 1, 84, 84))
    torch.testing.assert_close(unscaled(frames.float() / 255), scaled(frames))


def test_discrete_observations_are_one_hot():
    trunk = make_trunk(gym.spaces.Discrete(3, start=5), generator=generator())
    hidden = (trunk.first.weight.T + trunk.first.bias).relu()
    torch.testing.assert_close(trunk(torch.tensor([5, 6, 7])), trunk.second(hidden).relu())


def test_global_random_state_is_not_touched():
    before = torch.get_rng_state()
    make_torso(images((1, 84, 84)), 8, generator=generator())
    make_torso(gym.spaces.Discrete(4), 8, generator=generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_come_from_the_generator():
    a, b, c = (make_torso(images((7, 7, 3)), 8, generator=generator(s)) for s in (0, 0, 1))
    for x, y, z in zip(a.parameters(), b.parameters(), c.parameters(), strict=True):
        assert torch.equal(x, y)
        assert x.dim() == 1 or not torch.equal(x, z)


def test_linear_is_orthogonal():
    layer = linear(12, 5, generator=generator(), gain=3.0)
    torch.testing.assert_close(layer.weight @ layer.weight.T, 9 * torch.eye(5))
    assert not layer.bias.any()


def test_every_weight_gets_a_gradient():
    torso = make_torso(images((1, 84, 84)), 8, generator=generator())
    with autocast("cpu", torch.bfloat16):
        out = torso(bytes_of((3, 1, 84, 84)))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    for name, parameter in torso.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_low_precision_is_near():
    torso = make_torso(images((1, 84, 84)), 64, generator=generator())
    frames = bytes_of((8, 1, 84, 84))
    exact = torso(frames)
    with autocast("cpu", torch.bfloat16):
        cast = torso(frames)
    held = torso.to(torch.bfloat16)(frames)
    for low in (cast, held):
        assert (low.float() - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Dict({"image": images((7, 7, 3))}),
        gym.spaces.Tuple([gym.spaces.Discrete(2)]),
        gym.spaces.MultiBinary(3),
    ],
)
def test_nested_spaces_name_the_wrapper(space):
    with pytest.raises(TypeError, match=r"FlattenObservation.*ImgObsWrapper"):
        make_torso(space, 8, generator=generator())


def test_too_many_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"one to three dimensions, got a Box of shape \(2, 3, 4"):
        make_torso(images((2, 3, 4, 5)), 8, generator=generator())


def test_precision_names():
    assert resolve_precision("float32", "cpu") == torch.float32
    assert resolve_precision("bfloat16", "cpu") == torch.bfloat16
    assert resolve_precision("auto", "cpu") in (torch.float32, torch.bfloat16)
    assert resolve_precision("auto", "meta") == torch.float32
    with pytest.raises(ValueError, match="'half'"):
        resolve_precision("half", "cpu")
