import math

import pytest
import torch
from torch import distributions as exact

from ngu.world.distributions import (
    Categorical,
    Gaussian,
    categorical_kl,
    gaussian_kl,
    kl_balance,
    sample_categorical,
    sample_gaussian,
    symexp,
    symexp_bins,
    symlog,
    two_hot,
    two_hot_loss,
    two_hot_mean,
    unimix,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_categorical(seed=0, shape=(3, 4, 5)):
    logits = 2 * torch.randn(shape, generator=generator(seed), dtype=torch.float64)
    return Categorical(torch.log_softmax(logits, dim=-1).requires_grad_())


def some_gaussian(seed=0, shape=(3, 4)):
    mean, raw = torch.randn(2, *shape, generator=generator(seed), dtype=torch.float64)
    return Gaussian(mean.requires_grad_(), raw.exp().requires_grad_())


def test_symlog_by_hand():
    x = torch.tensor([0.0, math.e - 1, 1 - math.e**2], dtype=torch.float64)
    torch.testing.assert_close(symlog(x), torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64))


def test_symexp_undoes_symlog():
    x = torch.tensor([-1e9, -3.7, -1e-9, 0.0, 1e-12, 0.5, 12.0, 1e15], dtype=torch.float64)
    torch.testing.assert_close(symexp(symlog(x)), x, rtol=1e-12, atol=0)


def test_bins():
    bins = symexp_bins()
    assert (len(bins), bins[127].item()) == (255, 0)
    assert torch.equal(bins, -bins.flip(0))
    assert (bins.diff() > 0).all()
    assert bins[-1].item() == pytest.approx(math.expm1(20))
    with pytest.raises(ValueError, match="count must be odd and at least 3, got 4"):
        symexp_bins(4)
    with pytest.raises(ValueError, match=r"limit must be above 0, got -1\.0"):
        symexp_bins(5, -1.0)


def test_two_hot_by_hand():
    bins = torch.tensor([-2.0, 0.0, 1.0, 5.0])
    values = torch.tensor([-9.0, -0.5, 0.0, 2.0, 5.0, 7.0])
    expected = torch.tensor(
        [
            [1, 0, 0, 0],
            [0.25, 0.75, 0, 0],
            [0, 1, 0, 0],
            [0, 0, 0.75, 0.25],
            [0, 0, 0, 1],
            [0, 0, 0, 1],
        ]
    )
    torch.testing.assert_close(two_hot(values, bins), expected)
    turned = two_hot(values.view(2, 3).t(), bins)  # memory in another order
    torch.testing.assert_close(turned, expected.view(2, 3, 4).transpose(0, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mean_of_a_two_hot_value_is_the_value(dtype):
    bins = symexp_bins().to(dtype)
    values = torch.tensor([[-4e8, -17.3, -0.01], [0.0, 0.37, 1.0], [99.0, 12345.6, 1e7]]).to(dtype)
    weights = two_hot(values, bins)
    assert weights.shape == (3, 3, 255)
    torch.testing.assert_close(two_hot_mean(weights, bins), values)


def test_the_mean_of_uniform_bins_is_exactly_zero():
    assert two_hot_mean(torch.zeros(2, 255).softmax(-1), symexp_bins()).tolist() == [0, 0]
    even = torch.tensor([-3.0, -1.0, 2.0, 6.0])
    assert two_hot_mean(torch.full((4,), 0.25), even).item() == 1


def test_the_two_hot_loss():
    bins, logits = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([[0.0, 1.0, -2.0]])
    total = math.log(1 + math.e + math.exp(-2))
    found = two_hot_loss(logits, torch.tensor([0.25]), bins)
    assert found.item() == pytest.approx(0.75 * (total - 1) + 0.25 * (total + 2))
    # It is least where the logits are the value's own weights.
    values = torch.tensor([3.3, -20.0])
    best = two_hot(values, symexp_bins()).clamp_min(1e-9).log().requires_grad_()
    (slope,) = torch.autograd.grad(two_hot_loss(best, values, symexp_bins()).sum(), best)
    assert slope.abs().max() < 1e-5


def test_unimix():
    logits = torch.tensor([[0.0, 200.0, -200.0, 0.0]])
    found = unimix(logits, 0.01).exp()
    torch.testing.assert_close(found, torch.tensor([[0.0025, 0.9925, 0.0025, 0.0025]]))
    many = unimix(30 * torch.randn(50, 8, generator=generator()))
    assert many.exp().min() >= 0.01 / 8 - 1e-9
    torch.testing.assert_close(many.exp().sum(-1), torch.ones(50))
    torch.testing.assert_close(unimix(logits, 0.0), torch.log_softmax(logits, -1))
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got 2"):
        unimix(logits, 2.0)


def test_categorical_samples_are_one_hot_and_follow_their_probabilities():
    probability = torch.tensor([[0.1, 0.0, 0.6, 0.3], [0.25, 0.25, 0.25, 0.25]])
    latents = Categorical(probability.log().expand(40_000, 2, 4))
    drawn = sample_categorical(latents, generator())
    assert torch.equal(drawn.unique(), torch.tensor([0.0, 1.0]))
    assert torch.equal(drawn.sum(-1), torch.ones(40_000, 2))
    assert drawn[:, 0, 1].sum() == 0
    torch.testing.assert_close(drawn.mean(0), probability, atol=0.01, rtol=0)
    assert torch.equal(drawn, sample_categorical(latents, generator()))
    likeliest = sample_categorical(latents, None)[0]
    assert likeliest.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize("draws", [None, generator()])
def test_the_gradient_of_a_sample_is_that_of_the_probabilities(draws):
    logits = torch.randn(3, 4, generator=generator(), requires_grad=True)
    weights = torch.randn(3, 4, generator=generator(1))
    sampled = sample_categorical(Categorical(logits.log_softmax(-1)), draws)
    (through,) = torch.autograd.grad((sampled * weights).sum(), logits)
    (plain,) = torch.autograd.grad((logits.softmax(-1) * weights).sum(), logits)
    torch.testing.assert_close(through, plain)


def test_gaussian_samples():
    latents = Gaussian(torch.full((50_000, 1), 2.0), torch.full((50_000, 1), 0.5))
    drawn = sample_gaussian(latents, generator())
    assert abs(drawn.mean() - 2) < 0.01
    assert abs(drawn.std() - 0.5) < 0.01
    assert torch.equal(sample_gaussian(latents, None), latents.mean)


def test_samples_leave_global_random_state():
    before = torch.get_rng_state()
    sample_categorical(some_categorical(), generator())
    sample_gaussian(some_gaussian(), generator())
    assert torch.equal(before, torch.get_rng_state())


def test_divergences_are_exact():
    left, right = some_categorical(0), some_categorical(1)
    expected = exact.kl_divergence(
        exact.Categorical(logits=left[0]), exact.Categorical(logits=right[0])
    )
    torch.testing.assert_close(categorical_kl(left, right), expected.sum(-1))
    left, right = some_gaussian(0), some_gaussian(1)
    expected = exact.kl_divergence(exact.Normal(*left), exact.Normal(*right))
    torch.testing.assert_close(gaussian_kl(left, right), expected.sum(-1))


def test_divergences_by_hand():
    left = Categorical(torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log())
    right = Categorical(torch.tensor([[0.25, 0.75], [0.25, 0.75]]).log())
    by_hand = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert categorical_kl(left, right).item() == pytest.approx(by_hand)
    left = Gaussian(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0]))
    right = Gaussian(torch.tensor([0.0, 3.0]), torch.tensor([1.0, 1.0]))
    assert gaussian_kl(left, right).item() == pytest.approx(0.5 * (4 + 1 - math.log(4) - 1))


@pytest.mark.parametrize("some", [some_categorical, some_gaussian])
def test_each_side_of_the_balance_trains_its_own(some):
    posterior, prior = some(0), some(1)
    losses = kl_balance(posterior, prior, 0.0)
    torch.testing.assert_close(losses.dynamics, losses.representation)
    for loss, trained, stopped in (
        (losses.dynamics, prior, posterior), (losses.representation, posterior, prior)
    ):  # fmt: skip
        found = torch.autograd.grad(loss.sum(), [*trained, *stopped], allow_unused=True)
        assert all(grad.abs().max() > 0 for grad in found[: len(trained)])
        assert all(grad is None for grad in found[len(trained) :])


def test_free_nats_are_counted_after_the_sum_over_latents():
    """Each of four latents diverges by 0.4 nats: 1.6 together, which is more than 1.5."""
    mean = torch.full((2, 4), math.sqrt(0.8))
    mean[1] /= 10
    posterior = Gaussian(mean.requires_grad_(), torch.ones(2, 4))
    prior = Gaussian(torch.zeros(2, 4), torch.ones(2, 4))
    losses = kl_balance(posterior, prior, 1.5)
    torch.testing.assert_close(losses.representation, torch.tensor([1.6, 1.5]))
    torch.testing.assert_close(losses.dynamics, losses.representation)
    losses.representation.sum().backward()
    torch.testing.assert_close(mean.grad[0], mean.detach()[0])
    assert mean.grad[1].abs().max() == 0  # what is free trains nothing


def test_kinds_do_not_mix():
    with pytest.raises(TypeError, match="same kind, got Categorical and Gaussian"):
        kl_balance(some_categorical(), some_gaussian())
