import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from ngu.analysis.coding.bitstream import BitstreamError
from ngu.analysis.coding.word_code import WordCode, WordModel
from ngu.world.vq_vae import VQVAE, VQVAEConfig

WORDS = 16
PLACES = (4, 6)


def maps(count, seed):
    """The first word is one of eight; the others are all the same, but the last is the first."""
    generator = np.random.default_rng(seed)
    chosen = np.full((count, *PLACES), 9)
    chosen[:, 0, 0] = chosen[:, -1, -1] = generator.integers(0, 8, count)
    return chosen


def screens(count, seed):
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.integers(0, 256, (count, 32, 48, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def model():
    model = WordModel(PLACES, WORDS, generator=torch.Generator().manual_seed(0))
    chosen = torch.from_numpy(maps(64, seed=0))
    model.begin(chosen)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss = functional.cross_entropy(model(chosen).flatten(0, 1), chosen.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


@pytest.fixture(scope="module")
def code(model):
    vqvae = VQVAE((32, 48, 3), VQVAEConfig(features=4, words=WORDS))
    vqvae.begin(screens(20, seed=0), generator=torch.Generator().manual_seed(0))
    return WordCode(vqvae, model.exact())


def test_a_word_is_told_by_one_far_before(code):
    bits = code.bits(maps(200, seed=1)) - 48  # the header's
    assert bits.mean() == pytest.approx(3, abs=0.4)  # log2 of 8, and not twice


def test_what_nothing_is_learned_of_takes_its_share_in_its_place():
    model = WordModel(PLACES, WORDS, generator=torch.Generator().manual_seed(0))
    chosen = torch.from_numpy(maps(400, seed=0))
    model.begin(chosen)
    share = ((chosen[:, 0, 0] == 3).sum() + 0.01) / (400 + 0.01 * WORDS)
    odds = model.exact().odds(maps(1, seed=1))[0, 0]
    assert np.log2(odds[3] / odds.sum()) == pytest.approx(math.log2(share), abs=0.02)


def test_places_do_not_see_their_own_word_nor_those_behind(model):
    one = torch.randint(0, WORDS, (1, *PLACES), generator=torch.Generator().manual_seed(0))
    for row, column in ((0, 0), (1, 2), (1, 5), (3, 5)):
        other = one.clone()
        other[0, row, column] = (one[0, row, column] + 1) % WORDS
        known = row * PLACES[1] + column + 1
        assert torch.equal(model(one)[:, :known], model(other)[:, :known])
        assert not torch.equal(model(one)[:, known:], model(other)[:, known:]) or known == 24


def test_the_exact_network_is_the_trained_one(model):
    chosen = np.random.default_rng(0).integers(0, WORDS, (8, *PLACES))
    odds = model.exact().odds(chosen)
    with torch.no_grad():
        trained = model(torch.from_numpy(chosen)).softmax(-1).numpy()
    assert np.abs(odds / odds.sum(-1, keepdims=True) - trained).max() < 0.01


def test_files_decode_to_exactly_what_was_coded(code):
    pictures = screens(5, seed=1)
    files, chosen = code.encode(pictures), code.quantise(pictures)
    assert len(np.unique(chosen)) > 8
    assert np.array_equal(code.decode(files), chosen)
    assert np.array_equal(code.decode(files[2:3]), chosen[2:3])
    assert torch.equal(code.approximate(pictures), code.reconstruct(code.decode(files)))
    sizes = np.array([8 * len(file) for file in files])
    assert np.all(np.abs(sizes - code.bits(chosen)) < 0.01 * sizes + 40)


def test_damaged_files_get_a_sentence(code):
    (file,) = code.encode(screens(1, seed=1))
    with pytest.raises(BitstreamError, match="cut off or damaged"):
        code.decode([file[:-1]])
    with pytest.raises(BitstreamError, match="no picture of this code"):
        code.decode([b"Nf" + file[2:]])
