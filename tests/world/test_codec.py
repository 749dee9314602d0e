import gymnasium as gym
import numpy as np
import pytest
import torch

from ngu.world.codec import GridCodec, PictureCodec, VectorCodec, make_codec

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


def symbols_box(*shape, most=10, dtype=np.uint8):
    return gym.spaces.Box(0, most, shape, dtype)


@pytest.mark.parametrize(
    ("space", "symbols"),
    [
        (symbols_box(7, 7, 3), 11),
        (symbols_box(15, 90, most=63, dtype=np.int64), 64),
        (symbols_box(2, 3, 4, most=1, dtype=np.int8), 2),
        (gym.spaces.Box(np.ones((2, 2)), np.array([[3, 3], [5, 3]]), dtype=np.int32), 6),
    ],
)
def test_grids(space, symbols):
    codec = make(space)
    assert type(codec) is GridCodec
    assert codec.symbols == symbols
    space.seed(0)
    grids = torch.from_numpy(np.stack([space.sample() for _ in range(3)]))
    embedded = codec.encode(grids)
    assert embedded.shape == (3, codec.out_features) == (3, 8)
    # Another symbol at one place is read; which place tells.
    others = grids.clone()
    others.flatten(1)[:, 0] = torch.where(grids.flatten(1)[:, 0] == 1, 0, 1).to(grids.dtype)
    assert (codec.encode(others) != embedded).any(-1).all()
    decoded = codec.decode(some_features())
    assert (decoded.shape, decoded.dtype) == (grids.shape, grids.dtype)
    assert 0 <= decoded.min() <= decoded.max() < symbols
    # Every number's own softmax over the symbols, by hand, in float64.
    logits = codec.decoder(some_features()).double().view(3, -1, symbols)
    loss = torch.zeros(3, dtype=torch.float64)
    for n in range(3):
        for place, symbol in enumerate(grids[n].flatten().tolist()):
            row = logits[n, place]
            loss[n] += row.exp().sum().log() - row[symbol]
    torch.testing.assert_close(codec.loss(some_features(), grids).double(), loss)


def test_a_grid_is_known_again_after_training():
    codec = make(symbols_box(3, 4, most=4))
    grids = torch.randint(0, 5, (5, 3, 4), dtype=torch.uint8, generator=generator(2))
    assert not torch.equal(codec.decode(some_features(5)), grids)
    adam = torch.optim.Adam(codec.parameters(), lr=3e-2)
    first = None
    for _ in range(150):
        loss = codec.loss(some_features(5), grids).mean()
        first = loss.item() if first is None else first
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert first > 12
    assert loss.item() < 0.5
    assert torch.equal(codec.decode(some_features(5)), grids)


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
        (gym.spaces.Discrete(3), "vectors, of pictures at least 16 pixels .* got Discrete"),
        (bytes_box(15, 16, 3), "smaller grids of at most 64 symbols numbered from 0, got Box"),
        (gym.spaces.Box(0, 64, (7, 7), np.uint8), "grids of at most 64 symbols .* got Box"),
        (gym.spaces.Box(-1, 3, (7, 7), np.int64), "grids of at most 64 symbols .* got Box"),
        (gym.spaces.Box(0, 1, (7, 7), np.float32), "pictures at least 16 pixels .* got Box"),
        (gym.spaces.Dict({"a": bytes_box(16, 16)}), "observation_space must be .* got Dict"),
        (gym.spaces.Box(-1, 1, (16, 16)), "bytes 0 to 255 or of floats 0 to 1 .* got Box"),
        (gym.spaces.Box(0, 9, (16, 16), np.int32), "bytes 0 to 255 or of floats 0 to 1"),
    ],
)
def test_other_spaces(space, sentence):
    with pytest.raises(TypeError, match=sentence):
        make(space)
