import gymnasium as gym
import numpy as np
import pytest
import torch

from ngu.world.codec import PictureCodec, VectorCodec, make_codec

FEATURES = 6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(space, seed=0):
    return make_codec(space, FEATURES, filters=4, hidden=8, generator=generator(seed))


def some_features(count=3):
    return torch.randn(count, FEATURES, generator=generator(1))


def bytes_box(*shape):
    return gym.spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize("shape", [(16, 16), (17, 20, 3), (2, 16, 30), (64, 64, 1)])
def test_pictures(shape):
    codec = make(bytes_box(*shape))
    assert type(codec) is PictureCodec
    pictures = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=generator())
    assert codec.encode(pictures).shape == (3, codec.out_features)
    decoded = codec.decode(some_features())
    assert (decoded.shape, decoded.dtype) == (pictures.shape, torch.uint8)
    exact = codec.decoder(some_features())
    if len(shape) == 2:
        exact = exact.squeeze(1)
    elif shape[0] > shape[2]:
        exact = exact.permute(0, 2, 3, 1)
    assert (decoded.float() - 255 * exact.clamp(0, 1)).abs().max() <= 0.501
    error = (exact - pictures / 255).square().flatten(1).sum(-1)
    torch.testing.assert_close(codec.loss(some_features(), pictures), error)


def test_pictures_of_floats_are_those_of_bytes():
    as_bytes, as_floats = make(bytes_box(16, 16)), make(gym.spaces.Box(0, 1, (16, 16)))
    pictures = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=generator())
    torch.testing.assert_close(as_bytes.encode(pictures), as_floats.encode(pictures / 255))
    loss = as_bytes.loss(some_features(), pictures)
    torch.testing.assert_close(as_floats.loss(some_features(), pictures / 255), loss)
    decoded = as_floats.decode(some_features())
    assert decoded.dtype == torch.float32
    as_shown = as_bytes.decode(some_features()).float()
    torch.testing.assert_close(255 * decoded, as_shown, atol=0.501, rtol=0)


def test_vectors():
    codec = make(gym.spaces.Box(-np.inf, np.inf, (5,)))
    assert type(codec) is VectorCodec
    vectors = 1e4 * torch.randn(3, 5, generator=generator())
    assert codec.encode(vectors).shape == (3, codec.out_features) == (3, 8)
    decoded = codec.decode(some_features())
    torch.testing.assert_close(codec.loss(some_features(), decoded), torch.zeros(3))
    raised = torch.sign(decoded) * ((decoded.abs() + 1) * np.e - 1)  # symlog is 1 further out
    torch.testing.assert_close(codec.loss(some_features(), raised), torch.full((3,), 5.0))


def test_vectors_of_integers_stay_in_range():
    codec = make(gym.spaces.Box(0, 255, (5,), np.uint8))
    with torch.no_grad():
        codec.decoder[-1].weight.zero_()
        codec.decoder[-1].bias.copy_(torch.tensor([-5.0, 0.0, 1.0, 1.3, 9.0]))
    assert codec.decode(some_features())[0].tolist() == [0, 0, 2, 3, 255]


@pytest.mark.parametrize("shape", [(16, 16), (5,)])
def test_bfloat16_is_near(shape):
    space = bytes_box(*shape)
    codec = make(space)
    seen = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=generator())
    exact = codec.loss(some_features(), seen)
    with torch.autocast("cpu", torch.bfloat16):
        rough = codec.loss(some_features(), seen)
        embedded = codec.encode(seen)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)
    torch.testing.assert_close(embedded.float(), codec.encode(seen), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (gym.spaces.Discrete(3), "vectors, or of pictures at least 16 pixels .* got Discrete"),
        (bytes_box(15, 16, 3), "pictures at least 16 pixels high and wide, got Box"),
        (gym.spaces.Box(-1, 1, (16, 16)), "bytes 0 to 255 or of floats 0 to 1 .* got Box"),
        (gym.spaces.Box(0, 9, (16, 16), np.int32), "bytes 0 to 255 or of floats 0 to 1"),
    ],
)
def test_other_spaces(space, sentence):
    with pytest.raises(TypeError, match=sentence):
        make(space)
