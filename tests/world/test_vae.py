import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as exact_divergence

from ngu.checkpoint import DamagedCheckpoint, load_tree, save_tree
from ngu.world.distributions import Gaussian, sample_gaussian
from ngu.world.vae import (
    ConvVAE,
    VAEConfig,
    gaussian_log_likelihood,
    interpolate,
    kl_divergence,
    logistic_log_likelihood,
    traverse,
)

SMALL = (16, 16, 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_pictures(shape, count=5):
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator())


@pytest.mark.parametrize(
    "shape",
    [
        (64, 64, 3), (60, 80, 3), (84, 84, 1), (1, 84, 84), (21, 21, 3), (16, 16), (17, 33, 3),
        (3, 105, 80), (37, 16, 1),
    ],
)  # fmt: skip
def test_all_sizes_come_back(shape):
    vae = ConvVAE(shape, VAEConfig(latent_dim=4))
    pictures = some_pictures(shape, 2)
    posterior = vae.encode(pictures)
    assert posterior.mean.shape == posterior.std.shape == (2, 4)
    decoded = vae.decode(posterior.mean)
    assert (decoded.shape, decoded.dtype) == (pictures.shape, torch.uint8)
    vae.loss(vae.bound(pictures, generator=generator())).backward()
    unused = {name for name, weight in vae.named_parameters() if weight.grad is None}
    assert unused == {"log_scale"}  # the logistic's


def test_the_default_has_the_size_of_world_models():
    weights = {name: weight.numel() for name, weight in ConvVAE().named_parameters()}
    assert sum(weights.values()) - weights["log_scale"] == 4_348_547


def test_half_the_filters_are_a_quarter_of_the_weights():
    vae = ConvVAE(config=VAEConfig(filters=16))
    assert 4_348_547 / sum(weight.numel() for weight in vae.parameters()) == pytest.approx(4, 0.05)
    pictures = some_pictures((64, 64, 3), 2)
    assert vae.decode(vae.encode(pictures).mean).shape == pictures.shape


def test_weights_come_from_the_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (ConvVAE(SMALL, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    pictures = some_pictures(SMALL)
    assert torch.equal(one.encode(pictures).mean, same.encode(pictures).mean)
    assert not torch.equal(one.encode(pictures).mean, other.encode(pictures).mean)


def test_the_divergence_is_exact():
    mean, std = torch.tensor([[0.0, 0.5, -3.0]]), torch.tensor([[1.0, 0.3, 2.0]])
    found = kl_divergence(Gaussian(mean, std))
    torch.testing.assert_close(found, exact_divergence(Normal(mean, std), Normal(0.0, 1.0)))
    assert found[0, 0] == 0


def test_its_gradient_is_that_of_samples():
    """The closed form against the mean of log q - log p over reparameterised samples."""
    mean = torch.tensor([[0.7, -1.5, 0.0]], dtype=torch.float64, requires_grad=True)
    std = torch.tensor([[0.4, 1.3, 1.0]], dtype=torch.float64, requires_grad=True)
    closed = torch.autograd.grad(kl_divergence(Gaussian(mean, std)).sum(), (mean, std))
    torch.testing.assert_close(closed, (mean.detach(), std.detach() - 1 / std.detach()))
    many = Gaussian(mean.expand(400_000, 3), std.expand(400_000, 3))
    latents = sample_gaussian(many, generator())
    drawn = Normal(*many).log_prob(latents) - Normal(0.0, 1.0).log_prob(latents)
    estimated = torch.autograd.grad(drawn.mean(0).sum(), (mean, std))
    torch.testing.assert_close(estimated, closed, atol=0.01, rtol=0)


def test_samples_follow_the_posterior():
    posterior = Gaussian(torch.full((50_000, 1), 2.0), torch.full((50_000, 1), 0.5))
    latents = sample_gaussian(posterior, generator())
    assert abs(latents.mean() - 2) < 0.01
    assert abs(latents.std() - 0.5) < 0.01


def test_the_gaussian_is_a_squared_error():
    pictures, mean = torch.rand(2, 1, 3, 4, 5, generator=generator())
    found = gaussian_log_likelihood(pictures, mean)
    expected = Normal(mean, math.sqrt(0.5)).log_prob(pictures).sum()
    torch.testing.assert_close(found, expected[None])


@pytest.mark.parametrize("scale", [1e-4, 0.02, 5.0])
@pytest.mark.parametrize("mean", [0.0, 0.3371, 1.0])
def test_the_logistic_is_a_distribution_of_bytes(scale, mean):
    values = (torch.arange(256, dtype=torch.float64) / 255).view(256, 1, 1, 1)
    log_scale = torch.full((1, 1, 1), math.log(scale), dtype=torch.float64, requires_grad=True)
    mean = torch.full((256, 1, 1, 1), mean, dtype=torch.float64, requires_grad=True)
    found = logistic_log_likelihood(values, mean, log_scale)
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-9)
    found.sum().backward()
    assert mean.grad.isfinite().all()
    assert log_scale.grad.isfinite().all()


def test_the_logistic_keeps_its_digits_in_float32():
    values = (torch.arange(256) / 255).view(256, 1, 1, 1)
    mean, log_scale = torch.full_like(values, 0.2), torch.full((1, 1, 1), math.log(0.01))
    found = logistic_log_likelihood(values, mean, log_scale)
    exact = logistic_log_likelihood(values.double(), mean.double(), log_scale.double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-3)


def test_what_is_made_small():
    pictures = some_pictures(SMALL)
    for beta, free_nats in ((1.0, 0.0), (4.0, 0.0), (1.0, 1e4)):
        vae = ConvVAE(SMALL, VAEConfig(beta=beta, free_nats=free_nats))
        bound = vae.bound(pictures)
        decoded = vae.decoder(vae.encode(pictures).mean)
        error = (pictures.permute(0, 3, 1, 2) / 255 - decoded).square().sum((1, 2, 3))
        kl = bound.kl.sum(-1).clamp_min(free_nats)
        torch.testing.assert_close(vae.loss(bound), (error + beta * kl).mean())


def test_bits():
    gaussian, logistic = (ConvVAE(SMALL, VAEConfig(likelihood=x)) for x in ("gaussian", "logistic"))
    evidence = torch.tensor([-16 * 16 * 3 * math.log(2) * 5])
    assert logistic.bits_per_dimension(evidence).item() == pytest.approx(5)
    assert gaussian.bits_per_dimension(evidence).item() == pytest.approx(13)
    # Noise cannot be coded in less than it holds.
    bound = logistic.bound(some_pictures(SMALL), generator=generator())
    assert logistic.bits_per_dimension(bound.evidence).min() > 8
    torch.testing.assert_close(bound.evidence, bound.log_likelihood - bound.kl.sum(-1))


def test_bfloat16_is_near():
    vae, pictures = ConvVAE(SMALL), some_pictures(SMALL)
    exact = vae.bound(pictures)
    with torch.autocast("cpu", torch.bfloat16):
        rough = vae.bound(pictures)
    assert rough.log_likelihood.dtype == rough.kl.dtype == torch.float32
    torch.testing.assert_close(rough.evidence, exact.evidence, rtol=0.01, atol=0)


def test_on_the_way_between_latents():
    first, last = torch.tensor([0.0, 4.0]), torch.tensor([2.0, 0.0])
    expected = torch.tensor([[0.0, 4.0], [1.0, 2.0], [2.0, 0.0]])
    torch.testing.assert_close(interpolate(first, last, 3), expected)
    expected = torch.tensor([[0.0, -3.0], [0.0, 3.0]])
    torch.testing.assert_close(traverse(first, 1, torch.tensor([-3.0, 3.0])), expected)
    with pytest.raises(IndexError, match="dimension must be within 0 to 1, got 2"):
        traverse(first, 2, torch.zeros(1))


def test_a_file_holds_it_whole(tmp_path):
    vae = ConvVAE(SMALL, VAEConfig(latent_dim=3, likelihood="logistic"), generator=generator(3))
    vae.save(tmp_path / "vae.safetensors")
    loaded = ConvVAE.load(tmp_path / "vae.safetensors")
    assert loaded.config == vae.config
    pictures = some_pictures(SMALL)
    assert torch.equal(loaded.bound(pictures).evidence, vae.bound(pictures).evidence)


def test_a_file_of_half_precision(tmp_path):
    vae = ConvVAE(SMALL)
    pictures = some_pictures(SMALL)
    exact = vae.encode(pictures).mean
    vae.half().save(tmp_path / "half")
    loaded = ConvVAE.load(tmp_path / "half")
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.encode(pictures).mean, exact, atol=0.01, rtol=0.01)


def test_files_that_hold_none(tmp_path):
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(DamagedCheckpoint, match="text"):
        ConvVAE.load(tmp_path / "text")
    save_tree(tmp_path / "other", {"weights": torch.zeros(2), "steps": 3})
    with pytest.raises(ValueError, match=r"holds no autoencoder: its keys are \['steps', 'weig"):
        ConvVAE.load(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        ConvVAE.load(tmp_path / "nothing")
    ConvVAE(SMALL).save(tmp_path / "vae")
    state = load_tree(tmp_path / "vae")
    state["weights"].popitem()
    save_tree(tmp_path / "old", state)
    with pytest.raises(ValueError, match="old holds an autoencoder of another version"):
        ConvVAE.load(tmp_path / "old")


@pytest.mark.parametrize(
    ("pictures", "error", "sentence"),
    [
        (torch.zeros(2, 16, 17, 3, dtype=torch.uint8), ValueError, r"\[B, 16, 16, 3\], got \[2, 1"),
        (torch.zeros(2, 16, 16, 3), TypeError, "dtype uint8, got torch.float32"),
        ("pictures", TypeError, "dtype uint8, got str"),
    ],
)
def test_other_pictures(pictures, error, sentence):
    with pytest.raises(error, match=sentence):
        ConvVAE(SMALL).check(pictures)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"latent_dim": 0}, "latent_dim must be at least 1, got 0"),
        ({"filters": 0}, "filters must be at least 1, got 0"),
        ({"beta": -1.0}, "beta must be at least 0, got -1"),
        ({"free_nats": math.nan}, "free_nats must be at least 0, got nan"),
    ],
)
def test_settings_out_of_range(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        VAEConfig(**setting)
