"""The predicting network: its likelihood against torch's, temperatures, dreams, learning."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from ngu.state_file import load_tree, save_tree
from ngu.world.mdn_rnn import MDNRNN, MDNRNNConfig, Mixture, mixture_log_likelihood, sample_mixture
from ngu.world.mdn_rnn_training import MDNRNNTraining, MDNRNNTrainingConfig, Sequences

SMALL = MDNRNNConfig(hidden=16, mixtures=2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype).normal_(generator=generator(seed))


def some_mixture(*shape, dtype=torch.float64):
    parts = (normal(*shape, seed=seed, dtype=dtype) for seed in range(3))
    logits, mean, log_std = parts
    return Mixture(torch.log_softmax(2 * logits, -1), 3 * mean, log_std)


def reference(mixture):
    inner = Normal(mixture.mean, mixture.log_std.exp())
    return MixtureSameFamily(Categorical(logits=mixture.log_weight), inner)


def network(latent_dim=2, action_size=1, config=SMALL, seed=0):
    return MDNRNN(latent_dim, action_size, config, generator=generator(seed))


def test_the_likelihood_is_that_of_torch():
    mixture, latents = some_mixture(4, 3, 5), normal(4, 3, seed=9, dtype=torch.float64)
    expected = reference(mixture).log_prob(latents).sum(-1)
    torch.testing.assert_close(mixture_log_likelihood(mixture, latents), expected)
    single = Mixture(*(part.float() for part in mixture))
    found = mixture_log_likelihood(single, latents.float())
    torch.testing.assert_close(found, expected.float())


def test_far_away_it_has_a_value_and_a_gradient():
    mean = torch.tensor([[[-1.0, 1.0]]], requires_grad=True)
    mixture = Mixture(torch.full((1, 1, 2), math.log(0.5)), mean, torch.full((1, 1, 2), -2.0))
    found = mixture_log_likelihood(mixture, torch.tensor([[400.0]]))
    # The nearer Gaussian's alone: e^-4 is the variance.
    expected = math.log(0.5) - 0.5 * 399**2 * math.exp(4) + 2 - 0.5 * math.log(2 * math.pi)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    found.sum().backward()
    np.testing.assert_allclose(mean.grad[0, 0], [0, 399 * math.exp(4)], rtol=1e-5)


def test_its_gradient_is_that_of_finite_differences():
    mixture = some_mixture(2, 2, 3)
    parts = [part.detach().requires_grad_() for part in mixture]
    latents = normal(2, 2, seed=9, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *x: mixture_log_likelihood(Mixture(*x[:3]), x[3]), (*parts, latents)
    )


def test_samples_follow_the_mixture():
    one = some_mixture(1, 1, 3)
    many = Mixture(*(part.expand(200_000, 1, 3) for part in one))
    drawn = sample_mixture(many, generator())
    expected = reference(one)
    assert drawn.mean() == pytest.approx(expected.mean.item(), abs=0.02)
    assert drawn.var() == pytest.approx(expected.variance.item(), rel=0.02)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 2.0])
def test_a_temperature_flattens_the_shares_and_widens_each_gaussian(temperature):
    weight = torch.tensor([[[0.8, 0.2]]], dtype=torch.float64)
    mean = torch.tensor([[[-100.0, 100.0]]], dtype=torch.float64)
    log_std = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64)
    many = Mixture(*(part.expand(100_000, 1, 2) for part in (weight.log(), mean, log_std)))
    drawn = sample_mixture(many, generator(), temperature=temperature)
    left = drawn[drawn < 0]
    shares = weight ** (1 / temperature)
    expected = (shares / shares.sum())[0, 0, 0].item()
    assert len(left) / len(drawn) == pytest.approx(expected, abs=0.005)
    assert len(left) > 1000
    assert left.std() == pytest.approx(math.sqrt(temperature), rel=0.02)
    right = Mixture(*(part[..., 1:] for part in many))
    drawn = sample_mixture(
        right._replace(log_weight=torch.zeros_like(right.mean)),
        generator(),
        temperature=temperature,
    )
    assert drawn.std() == pytest.approx(math.e * math.sqrt(temperature), rel=0.02)


def test_the_coldest_is_the_likeliest():
    mixture = some_mixture(50, 4, 3)
    index = mixture.log_weight.argmax(-1, keepdim=True)
    expected = mixture.mean.gather(-1, index).squeeze(-1)
    torch.testing.assert_close(sample_mixture(mixture, None), expected)
    cold = sample_mixture(mixture, generator(), temperature=1e-8)
    torch.testing.assert_close(cold, expected, atol=1e-2, rtol=0)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be above 0, got"):
            sample_mixture(mixture, generator(), temperature=wrong)


def test_an_episode_begins_anew_and_steps_are_sequences():
    rnn = network()
    latents, actions = normal(6, 3, 2), normal(6, 3, 1, seed=1)
    first = torch.zeros(6, 3, dtype=torch.bool)
    first[4, 1] = True
    whole, _ = rnn(latents, actions, first, rnn.initial(3))
    fresh, _ = rnn(latents[4:, 1:2], actions[4:, 1:2], first[4:, 1:2], rnn.initial(1))
    torch.testing.assert_close(whole.reward[4:, 1:2], fresh.reward)
    torch.testing.assert_close(whole.latent.mean[4:, 1:2], fresh.latent.mean)
    carried = rnn.initial(3)
    for t in range(4):
        single, carried = rnn.step(latents[t], actions[t], carried)
    torch.testing.assert_close(single.latent.log_weight, whole.latent.log_weight[3])
    assert torch.allclose(whole.latent.log_weight.exp().sum(-1), torch.ones(6, 3, 2))


def test_the_losses_are_those_of_the_steps_that_led_somewhere():
    rnn = network()
    rnn.reward_scale.fill_(2.0)
    latents, actions, first = normal(4, 2, 2), normal(3, 2, 1), torch.zeros(4, 2, dtype=torch.bool)
    first[2, 0] = True  # step 1 of sequence 0 led nowhere
    reward, ended = normal(3, 2, seed=3), torch.tensor([[0, 0], [1, 0], [0, 1]]).bool()
    found = rnn.losses(latents, actions, first, reward, ended)
    with torch.no_grad():
        said, _ = rnn(latents[:-1], actions, first[:-1], rnn.initial(2))
    counted = torch.tensor([[1, 1], [0, 1], [1, 1]]).bool()
    nats = -reference(said.latent).log_prob(latents[1:]).sum(-1)
    ends = -torch.distributions.Bernoulli(logits=said.end).log_prob(ended.float())
    error = 0.5 * ((said.reward - reward) / 2).square()
    for part, each in zip(found, (nats, error, ends), strict=True):
        torch.testing.assert_close(part, each[counted].mean())
    spoilt = reward.clone()
    spoilt[1, 0] = 1e6
    assert torch.equal(rnn.losses(latents, actions, first, spoilt, ended).total, found.total)


def test_a_dream_ends_where_it_is_said_to():
    rnn = network()
    with torch.no_grad():
        rnn.outputs.bias[-2:] = torch.tensor([3.0, 0.0])
    policy = lambda z, h: torch.tanh(z[:, :1] + h[:, :1])  # noqa: E731
    dream = rnn.imagine(normal(64, 2), rnn.initial(64), policy, 10, generator=generator())
    again = rnn.imagine(normal(64, 2), rnn.initial(64), policy, 10, generator=generator())
    assert torch.equal(dream.latents, again.latents)
    assert dream.alive[0].all()
    assert not dream.alive[-1].any()  # each step ends half of them
    assert (dream.alive[1:] <= dream.alive[:-1]).all()
    assert (dream.reward[~dream.alive] == 0).all()
    assert (dream.reward[dream.alive] > 0).all()
    torch.testing.assert_close(dream.actions[0], policy(normal(64, 2), torch.zeros(64, 16)))
    likeliest = rnn.imagine(normal(3, 2), rnn.initial(3), policy, 4, generator=None)
    said, _ = rnn.step(normal(3, 2), policy(normal(3, 2), torch.zeros(3, 16)), rnn.initial(3))
    torch.testing.assert_close(likeliest.latents[0], sample_mixture(said.latent, None))
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        rnn.imagine(normal(3, 2), rnn.initial(3), policy, 0, generator=None)


def test_global_random_state_stays():
    before = torch.get_rng_state()
    one, same, other = network(seed=1), network(seed=1), network(seed=2)
    one.imagine(normal(3, 2), one.initial(3), lambda z, h: z[:, :1], 4, generator=generator())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.outputs.weight, same.outputs.weight)
    assert not torch.equal(one.outputs.weight, other.outputs.weight)


def walks(steps=120, envs=4, seed=0):
    """A walker on a circle of 8 steps left or right, from the top; the bottom ends the episode.

    It is paid 5 where it comes to the top again. After the end a step only resets.
    """
    draw = np.random.default_rng(seed)
    place, reset, rows = np.zeros(envs), np.ones(envs, dtype=bool), []
    for _ in range(steps):
        angle, action = place * np.pi / 4, draw.integers(0, 2, envs)
        moved = (place + 2 * action - 1) % 8
        seen = np.stack((np.cos(angle), np.sin(angle)), -1)
        rows.append((seen, np.eye(2)[action], reset, 5.0 * (moved == 0), moved == 4))
        reset = place == 4
        place = np.where(reset, 0, moved)
    columns = [torch.from_numpy(np.array(column)) for column in zip(*rows, strict=True)]
    seen, action, first, reward, ended = columns
    std = torch.full(seen.shape, 0.05)
    return Sequences(seen.float(), std, action.float(), first, reward.float(), ended)


QUICK = MDNRNNTrainingConfig(
    updates=200, batch_size=8, sequence_length=12, learning_rate=1e-2, held_out_share=0.25
)


def test_it_learns_where_actions_lead():
    rnn = network(action_size=2)
    training = MDNRNNTraining(rnn, walks(), QUICK, seed=0)
    before = training.evaluate()
    while not training.done:
        training.update()
    after = training.evaluate()
    # Two numbers, each known but for the noise of .05: nats of a Gaussian are its entropy.
    exact = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.05))
    assert before.latent_nats > 1.5
    assert exact - 0.2 < after.latent_nats < exact + 1.5
    assert after.still_nats > 1.5
    assert after.reward_error < 1.35 < 1.5 < before.reward_error
    assert after.end_nats < 0.2 < 0.5 < before.end_nats


def test_the_same_seed_gives_the_same_training_and_a_loaded_one_goes_on(tmp_path):
    def trained(updates, seed=0, state=None):
        training = MDNRNNTraining(network(action_size=2), walks(), QUICK, seed=seed)
        if state is not None:
            training.load_state_dict(state)
        return training, [training.update() for _ in range(updates)]

    whole, metrics = trained(12)
    assert metrics == trained(12)[1]
    assert metrics != trained(12, seed=1)[1]
    stopped, begun = trained(5)
    save_tree(tmp_path / "state", stopped.state_dict())
    resumed, rest = trained(7, state=load_tree(tmp_path / "state"))
    assert begun + rest == metrics
    assert resumed.evaluate() == whole.evaluate()


def test_a_loss_that_is_not_finite_changes_nothing():
    sequences = walks()
    training = MDNRNNTraining(
        network(action_size=2), sequences._replace(mean=sequences.mean * math.inf), QUICK, seed=0
    )
    before = training.rnn.outputs.weight.clone()
    with pytest.raises(FloatingPointError, match="the loss is nan in update 1"):
        training.update()
    assert torch.equal(training.rnn.outputs.weight, before)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MDNRNNConfig(hidden=0), "hidden must be at least 1, got 0"),
        (lambda: MDNRNNTrainingConfig(updates=0), "updates must be at least 1, got 0"),
        (lambda: MDNRNNTrainingConfig(learning_rate=0.0), "learning_rate must be above 0, got 0"),
        (lambda: MDNRNNTrainingConfig(held_out_share=1.0), "held_out_share must be between"),
        (
            lambda: MDNRNNTraining(network(action_size=2), walks(16), QUICK, seed=0),
            "at least 13 steps of each environment, for a sequence, beside the 4 held out, got 16",
        ),
        (
            lambda: MDNRNNTraining(network(3, 2), walks(), QUICK, seed=0),
            "latents must be 3 numbers wide, got 2",
        ),
        (
            lambda: MDNRNNTraining(network(2, 5), walks(), QUICK, seed=0),
            "actions must be 5 numbers wide, got 2",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
