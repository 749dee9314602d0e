import math

import pytest
import torch

from ngu.world.distributions import Categorical, Gaussian
from ngu.world.rssm import RSSM, RSSMConfig, State

STEPS, BATCH, EMBEDDING, ACTIONS = 6, 3, 7, 2
SIZES = {"deterministic_size": 8, "latents": 4, "classes": 5, "hidden": 9}
KINDS = pytest.mark.parametrize("latent", ["categorical", "gaussian"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(latent="categorical", seed=0):
    config = RSSMConfig(latent=latent, **SIZES)
    return RSSM(EMBEDDING, ACTIONS, config, generator=generator(seed))


def some_sequences():
    embedded = torch.randn(STEPS, BATCH, EMBEDDING, generator=generator(1))
    actions = torch.randint(0, ACTIONS, (STEPS, BATCH), generator=generator(2))
    first = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    return embedded, torch.nn.functional.one_hot(actions, ACTIONS).float(), first


def some_state(model):
    width = model.config.stochastic_size
    return State(
        torch.randn(BATCH, model.config.deterministic_size, generator=generator(3)),
        torch.randn(BATCH, width, generator=generator(4)),
    )


def observe(model, sequences, state=None, seed=5, steps=slice(None)):
    draws = seed if isinstance(seed, torch.Generator) else generator(seed)
    pieces = (part[steps] for part in sequences)
    return model.observe(*pieces, model.initial(BATCH) if state is None else state, draws)


@KINDS
def test_shapes(latent):
    model = make(latent)
    seen = observe(model, some_sequences())
    width = 20 if latent == "categorical" else 4
    assert seen.states.deterministic.shape == (STEPS, BATCH, 8)
    assert seen.states.stochastic.shape == (STEPS, BATCH, width)
    kind, shape = (
        (Categorical, (STEPS, BATCH, 4, 5)) if latent == "categorical" else
        (Gaussian, (STEPS, BATCH, 4))
    )  # fmt: skip
    for beliefs in (seen.posterior, seen.prior):
        assert type(beliefs) is kind
        assert all(part.shape == shape for part in beliefs)
    features = model.features(seen.states)
    assert features.shape == (STEPS, BATCH, model.config.features) == (STEPS, BATCH, 8 + width)
    losses = model.kl_losses(seen.posterior, seen.prior)
    assert losses.dynamics.shape == losses.representation.shape == (STEPS, BATCH)
    assert losses.dynamics.min() >= 1


def test_what_categorical_states_hold():
    seen = observe(make(), some_sequences())
    one_hot = seen.states.stochastic.unflatten(-1, (4, 5))
    assert torch.equal(one_hot.sum(-1), torch.ones(STEPS, BATCH, 4))
    assert torch.equal(one_hot.amax(-1), torch.ones(STEPS, BATCH, 4))
    assert seen.prior.log_probability.exp().min() >= 0.01 / 5 - 1e-7


def test_gaussian_beliefs_keep_a_width():
    seen = observe(make("gaussian"), some_sequences())
    assert seen.posterior.std.min() > 0.1
    likeliest = make("gaussian").observe(*some_sequences(), make("gaussian").initial(BATCH), None)
    assert torch.equal(likeliest.states.stochastic, likeliest.posterior.mean)


@KINDS
def test_beliefs_are_never_certain(latent):
    """Outputs that say it as firmly as can be leave the least width, or 1 % of all classes."""
    model = make(latent)
    torch.nn.init.zeros_(model.prior.weight)
    torch.nn.init.constant_(model.prior.bias, -1000.0)
    if latent == "categorical":
        model.prior.bias.data[::5] = 1000.0
    found = model.expect(torch.zeros(BATCH, 8))
    if latent == "gaussian":
        torch.testing.assert_close(found.std, torch.full((BATCH, 4), 0.1))
    else:
        expected = torch.tensor([0.992, 0.002, 0.002, 0.002, 0.002]).expand(BATCH, 4, 5)
        torch.testing.assert_close(found.log_probability.exp(), expected)


@KINDS
def test_pieces_give_what_the_whole_gives(latent):
    model, draws = make(latent), generator(5)
    whole = observe(model, some_sequences())
    left = observe(model, some_sequences(), None, draws, slice(0, 2))
    right = observe(model, some_sequences(), left.states.at(-1), draws, slice(2, None))
    for name in ("states", "posterior", "prior"):
        parts = zip(getattr(whole, name), getattr(left, name), getattr(right, name), strict=True)
        for all_steps, some, others in parts:
            torch.testing.assert_close(all_steps, torch.cat((some, others)))


@KINDS
def test_an_episode_that_begins_inside_is_one_that_begins(latent):
    """One of the sequences starts anew at step 3; the others go on."""
    model = make(latent)
    embedded, action_tm1, first = some_sequences()
    first[3, 1] = True
    draws = generator(5)
    before = observe(model, (embedded, action_tm1, first), some_state(model), draws, slice(0, 3))
    same_draws = draws.clone_state()
    inside = observe(
        model, (embedded, action_tm1, first), before.states.at(-1), draws, slice(3, None)
    )
    fresh_actions = action_tm1.clone()
    fresh_actions[3] = 0
    anew = observe(model, (embedded, fresh_actions, first), None, same_draws, slice(3, None))
    for part, expected in zip(model_numbers(inside), model_numbers(anew), strict=True):
        torch.testing.assert_close(part[:, 1], expected[:, 1])
        assert not torch.allclose(part[:, 0], expected[:, 0])


def model_numbers(seen):
    return [seen.states.deterministic, *seen.posterior, *seen.prior]


@KINDS
def test_nothing_passes_from_one_episode_to_the_next(latent):
    model = make(latent)
    embedded, action_tm1, first = some_sequences()
    first[3] = True
    embedded.requires_grad_()
    action_tm1.requires_grad_()
    seen = observe(model, (embedded, action_tm1, first))
    model.features(seen.states)[3:].square().sum().backward()
    assert embedded.grad[:3].abs().max() == 0
    assert action_tm1.grad[:4].abs().max() == 0
    assert embedded.grad[3:].abs().amax(-1).min() > 0
    assert action_tm1.grad[4:].abs().amax(-1).min() > 0


@KINDS
def test_imagination_is_the_prior_rolled_on(latent):
    """Step by step: the cell, the prior's beliefs, a sample with the same draws."""
    model, (_, actions, _) = make(latent), some_sequences()
    start = some_state(model)
    imagined = model.imagine(start, actions, generator=generator(6))
    assert torch.equal(imagined.actions, actions)
    state, draws = start, generator(6)
    for t in range(STEPS):
        state = model.imagine(state, actions[t : t + 1], generator=draws).states.at(0)
        torch.testing.assert_close(imagined.states.at(t), state)
    hidden = model.cell(model.entry(start.stochastic, actions[0]), start.deterministic)
    torch.testing.assert_close(imagined.states.deterministic[0], hidden)


def test_the_prior_of_a_step_is_the_same_observed_and_imagined():
    """Observing changes z alone: from one state both find the same h, hence the same prior."""
    model, (embedded, actions, first) = make(), some_sequences()
    start = some_state(model)
    seen = observe(model, (embedded, actions, first), start)
    imagined = model.imagine(start, actions, 1, generator=generator())
    torch.testing.assert_close(seen.states.deterministic[0], imagined.states.deterministic[0])
    expected = model.expect(imagined.states.deterministic[0])
    torch.testing.assert_close(seen.prior.log_probability[0], expected.log_probability)


def test_a_policy_acts_on_what_is_imagined():
    model, shown = make(), []

    def policy(state):
        shown.append(state)
        return torch.nn.functional.one_hot((state.deterministic[:, 0] > 0).long(), ACTIONS).float()

    start = some_state(model)
    imagined = model.imagine(start, policy, 4, generator=generator(6))
    assert shown[0] is start
    torch.testing.assert_close(shown[3], imagined.states.at(2))
    again = model.imagine(start, imagined.actions, generator=generator(6))
    torch.testing.assert_close(again.states, imagined.states)


def test_imagination_is_differentiable():
    model, (_, actions, _) = make(), some_sequences()
    actions.requires_grad_()
    imagined = model.imagine(some_state(model), actions, generator=generator())
    imagined.states.deterministic[-1].sum().backward()
    assert actions.grad.abs().amax((1, 2)).min() > 0


@KINDS
def test_every_weight_learns(latent):
    model = make(latent)
    seen = observe(model, some_sequences())
    losses = model.kl_losses(seen.posterior, seen.prior)
    (losses.dynamics + losses.representation + model.features(seen.states).sum(-1)).sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_what_the_posterior_pays_does_not_train_the_prior():
    model = make()
    seen = observe(model, some_sequences())
    loss = model.kl_losses(seen.posterior, seen.prior).representation.sum()
    trained = [model.posterior.weight, model.prior.weight]
    found = torch.autograd.grad(loss, trained, allow_unused=True)
    assert found[0] is not None
    assert found[1] is None


def test_weights_and_samples_come_from_generators_alone():
    before = torch.get_rng_state()
    one, same, other = (observe(make(seed=seed), some_sequences()) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.states.stochastic, same.states.stochastic)
    assert not torch.equal(one.states.deterministic, other.states.deterministic)
    redrawn = observe(make(seed=1), some_sequences(), seed=6)
    assert not torch.equal(one.states.stochastic, redrawn.states.stochastic)


def test_under_autocast_beliefs_are_float32():
    model = make("gaussian")
    exact = model.observe(*some_sequences(), model.initial(BATCH), None)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.observe(*some_sequences(), model.initial(BATCH), None)
        losses = model.kl_losses(rough.posterior, rough.prior)
    for part in (*rough.states, *rough.posterior, *rough.prior, *losses):
        assert part.dtype == torch.float32
    torch.testing.assert_close(rough.posterior.mean, exact.posterior.mean, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"deterministic_size": 0}, "deterministic_size must be at least 1, got 0"),
        ({"latents": 0}, "latents must be at least 1, got 0"),
        ({"hidden": -1}, "hidden must be at least 1, got -1"),
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"free_nats": math.inf}, "free_nats must be at least 0, got inf"),
        ({"unimix": 1.5}, r"unimix must be in \[0, 1\], got 1\.5"),
    ],
)
def test_settings_out_of_range(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        RSSMConfig(**setting)


def test_imagination_of_no_steps():
    model, (_, actions, _) = make(), some_sequences()
    start = some_state(model)
    with pytest.raises(ValueError, match="steps must be given with a policy, got None"):
        model.imagine(start, lambda state: actions[0], generator=None)
    with pytest.raises(ValueError, match="steps must be within 1 and the 6 actions, got 7"):
        model.imagine(start, actions, 7, generator=None)
    with pytest.raises(ValueError, match=r"steps must be .* got 0"):
        model.imagine(start, lambda state: actions[0], 0, generator=None)
