import numpy as np
import pytest
import torch

from ngu.world.vq_vae import VQVAE, VQVAEConfig, nearest_word


def pictures(count, shape=(32, 48, 3), seed=0):
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, shape[0] // 8, shape[1] // 8, 3), generator=draws)
    return coarse.repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.uint8)


@pytest.fixture
def vqvae():
    return VQVAE((32, 48, 3), VQVAEConfig(features=4, words=8))


def test_nearest_words_by_hand():
    codebook = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, -2.0]])
    features = torch.tensor([[1.0, 0.1], [2.0, 0.0], [-1.0, -1.5]])
    assert nearest_word(features, codebook).tolist() == [0, 1, 2]


def test_words_are_snapped_to_and_gradients_pass_through(vqvae):
    features = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    features.requires_grad_()
    snapped = vqvae.snap(features)
    flat = snapped.words.permute(0, 2, 3, 1)
    assert torch.allclose(flat, vqvae.codebook[snapped.chosen], atol=1e-6)
    (gradient,) = torch.autograd.grad((snapped.words * 3).sum(), features)
    assert (gradient == 3).all()
    assert snapped.distance.item() == pytest.approx(
        (features - snapped.words).square().mean().item(), rel=1e-5
    )


def test_it_begins_as_principal_components_do(vqvae):
    shown = pictures(60)
    vqvae.begin(shown, generator=torch.Generator().manual_seed(0))
    # Blocks of one colour have three components, and there are four.
    decoded = vqvae.shown(vqvae.decode(vqvae.encode(shown)))
    assert (decoded.int() - shown.int()).abs().max() <= 1
    snapped = vqvae.snap(vqvae.encode(shown))
    error = (vqvae.decode(snapped.words) - vqvae.scaled(shown)).square().mean()
    assert error < 0.5 * vqvae.scaled(shown).var()


def test_training_makes_the_loss_small_and_moves_the_words(vqvae):
    shown = pictures(16)
    optimiser = torch.optim.Adam(vqvae.parameters(), lr=1e-2)
    before, losses = vqvae.codebook.clone(), []
    for _ in range(40):
        loss = vqvae.loss(shown)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert not torch.equal(before, vqvae.codebook)


def test_words_are_averages_and_unused_ones_are_put_to_use(vqvae):
    features = torch.zeros(1, 4, 4, 6)
    features[0, :, 0] = 5.0
    with torch.no_grad():
        vqvae.codebook.copy_(torch.full((8, 4), 100.0))
        vqvae.codebook[0], vqvae.codebook[1] = 0.2, 4.0
        vqvae.counts.fill_(0.0)
        vqvae.sums.zero_()
    vqvae.follow(features, vqvae.snap(features).chosen)
    assert torch.allclose(vqvae.codebook[0], torch.zeros(4))
    assert torch.allclose(vqvae.codebook[1], torch.full((4,), 5.0))
    assert vqvae.codebook.max() <= 5  # the others are where features are


@pytest.mark.parametrize("shape", [(20, 33), (3, 20, 33), (20, 33, 3)])
def test_pictures_of_any_size_and_order_come_back_in_it(shape):
    vqvae = VQVAE(shape, VQVAEConfig(features=4, words=8))
    shown = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8))
    features = vqvae.encode(shown)
    assert features.shape == (2, 4, *vqvae.places) == (2, 4, 4, 6)
    assert vqvae.shown(vqvae.decode(features)).shape == shown.shape


def test_wrong_settings_get_a_sentence():
    with pytest.raises(ValueError, match="words must be at least 2, got 1"):
        VQVAEConfig(words=1)
    with pytest.raises(ValueError, match="decay must be between 0 and 1"):
        VQVAEConfig(decay=1.0)
