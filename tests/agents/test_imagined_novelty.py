"""What pays imagined states: it changes nothing where it reads, it learns, and it lasts."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from ngu import NGU, NGUConfig
from ngu.spaces import ActionSpec
from ngu_agents.dreamer_config import LatentDisagreementConfig
from ngu_agents.imagined_novelty import (
    Dreamt,
    ImaginedReward,
    PredictedNovelty,
    RememberedLatents,
    RememberedNovelty,
    Replayed,
)
from ngu_agents.latent_disagreement import LatentDisagreement
from ngu_agents.latent_memory import AsGiven

FEATURES, STOCHASTIC, ACTIONS, SEEN = 6, 3, 2, 4
HORIZON, COUNT, ENVS = 4, 5, 3
KINDS = ["remembered", "whitened", "disagreement", "predicted"]
CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed))


@pytest.fixture
def bonus():
    return make_bonus()


def make_bonus(**settings):
    spaces = Box(-np.inf, np.inf, (SEEN,), np.float32), Discrete(2)
    config = NGUConfig(memory_capacity=30, embedding_size=3, neighbours=2, **settings)
    bonus = NGU(*spaces, ENVS, config=config, seed=0, precision="float32")
    observations = some(40, ENVS, SEEN, seed=7).numpy()
    bonus.begin(observations[0])
    for before, after in pairwise(observations):
        bonus.score(before, np.zeros(ENVS, np.int64), after)
    return bonus


def make(kind: str, bonus: NGU, seed=0) -> ImaginedReward:
    if kind in ("remembered", "whitened"):
        return RememberedNovelty(bonus, FEATURES, 16, generator=generator(seed))
    if kind == "predicted":
        return PredictedNovelty(FEATURES, 16, generator=generator(seed), device=CPU)
    return LatentDisagreement(
        FEATURES,
        STOCHASTIC,
        ActionSpec(Discrete(ACTIONS)),
        LatentDisagreementConfig(models=3),
        generator=generator(seed),
        device=CPU,
    )


def make_replayed(count=32, seed=2) -> Replayed:
    """States whose rewards are a function of their features."""
    features, before = some(count, FEATURES, seed=seed), some(count, FEATURES, seed=seed + 1)
    action = torch.arange(count) % ACTIONS
    return Replayed(
        features=features,
        features_tm1=before,
        action_tm1=action,
        embedding_error=some(count, seed=seed + 2).square(),
        reward_int=1 + features[:, 0].abs(),
        followed=torch.arange(count) % 5 != 0,
    )


def make_dreamt(seed=3) -> Dreamt:
    actions = torch.randint(ACTIONS, (HORIZON, COUNT), generator=generator(seed))
    return Dreamt(
        some(HORIZON + 1, COUNT, FEATURES, seed=seed),
        torch.nn.functional.one_hot(actions, ACTIONS).float(),
        np.arange(COUNT) % ENVS,
        some(COUNT, 3, seed=seed + 1),
    )


def of_kind(kind: str) -> NGU:
    return make_bonus(whiten=kind == "whitened")


@pytest.mark.parametrize("kind", KINDS)
def test_paying_changes_nothing_and_draws_nothing(kind):
    bonus = of_kind(kind)
    imagined, dreamt = make(kind, bonus), make_dreamt()
    imagined.learn(make_replayed())
    before = copy.deepcopy((bonus.state_dict(), imagined.state_dict(), dreamt))
    drawn = torch.get_rng_state()
    paid = imagined.pay(dreamt)
    assert (paid.shape, paid.dtype, paid.requires_grad) == ((HORIZON, COUNT), torch.float32, False)
    torch.testing.assert_close(imagined.pay(dreamt), paid, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), drawn)
    after = (bonus.state_dict(), imagined.state_dict(), dreamt)
    for now, then in zip(after, before, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_learning_changes_neither_the_bonus_nor_what_was_replayed(kind):
    bonus = of_kind(kind)
    imagined, replayed = make(kind, bonus), make_replayed()
    before = copy.deepcopy((bonus.state_dict(), replayed))
    metrics = imagined.learn(replayed)
    assert metrics
    assert np.isfinite(list(metrics.values())).all()
    for now, then in zip((bonus.state_dict(), replayed), before, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0)
    # The bonus belongs to the agent, which saves it.
    assert not any("memory" in name or "encoder" in name for name in imagined.state_dict())


def embeds_what_it_is_given(bonus: NGU) -> RememberedNovelty:
    """Its embedding of a state is the state's first numbers."""
    imagined = make("remembered", bonus)
    imagined.embedding = torch.nn.Linear(FEATURES, bonus.encoder.size, bias=False)
    with torch.no_grad():
        imagined.embedding.weight.copy_(torch.eye(bonus.encoder.size, FEATURES))
    return imagined


def trajectories(*paths: list[Tensor], envs: list[int]) -> Dreamt:
    """Trajectories through given embeddings."""
    features = torch.zeros(len(paths[0]), len(paths), FEATURES)
    for n, path in enumerate(paths):
        for t, embedding in enumerate(path):
            features[t, n, : len(embedding)] = embedding
    actions = torch.zeros(len(paths[0]) - 1, len(paths), ACTIONS)
    return Dreamt(features, actions, np.array(envs), features[0, :, : len(paths[0][0])])


def test_what_is_remembered_pays_less_than_what_is_far(bonus):
    imagined = embeds_what_it_is_given(bonus)
    remembered = bonus.memory._entries[1, 12]
    far = torch.full_like(remembered, 50.0)
    start = torch.full_like(remembered, -70.0)
    paid = imagined.pay(
        trajectories([start, remembered], [start, far], [start, remembered], envs=[1, 1, 0])
    )[0]
    assert paid[0] < paid[1] / 3
    # The memory of environment 0 does not hold it.
    assert paid[2] > 1.2 * paid[0]


def test_another_environments_memory_is_not_read(bonus):
    imagined = embeds_what_it_is_given(bonus)
    path = list(some(HORIZON + 1, bonus.encoder.size))
    dreamt = trajectories(path, path, envs=[0, 1])
    before = imagined.pay(dreamt)
    where = np.array([False, True, True])
    bonus.memory.clear(where)
    bonus.memory.add(torch.stack([path[1]] * ENVS), where)
    after = imagined.pay(dreamt)
    torch.testing.assert_close(after[:, 0], before[:, 0], rtol=0, atol=0)
    assert (after[:, 1] != before[:, 1]).all()


def test_a_place_that_the_same_trajectory_has_passed_pays_less_the_second_time(bonus):
    imagined = embeds_what_it_is_given(bonus)
    a, b, c, d = (torch.full((bonus.encoder.size,), x) for x in (60.0, 90.0, 130.0, 180.0))
    paid = imagined.pay(trajectories([a, b, c, b], [a, b, c, d], [d, c, a, a], envs=[0, 0, 0]))
    assert paid[2, 0] < paid[0, 0] / 3
    assert paid[2, 0] < paid[2, 1] / 3
    # Where a trajectory begins is passed too; another trajectory's places are not.
    assert paid[2, 2] < paid[2, 1] / 3
    torch.testing.assert_close(paid[:2, 0], paid[:2, 1])
    assert paid[1, 2] > 3 * paid[2, 2]


def test_a_state_that_distillation_has_not_seen_is_paid_more(bonus):
    imagined = embeds_what_it_is_given(bonus)
    replayed = make_replayed(256)
    for _ in range(60):
        imagined.learn(replayed)
    # The same embedding, and elsewhere in what it does not read.
    known, unknown = replayed.features[:64].clone(), replayed.features[:64].clone()
    unknown[:, bonus.encoder.size :] *= 4.0
    pay = []
    for x in (known, unknown):
        begun, actions = x - 100, torch.zeros(1, 64, ACTIONS)
        embedded = begun[:, : bonus.encoder.size]
        pay.append(
            imagined.pay(Dreamt(torch.stack((begun, x)), actions, np.zeros(64, int), embedded))
        )
    assert (pay[1] >= 0.99 * pay[0]).float().mean() > 0.9
    assert pay[1].mean() > 1.5 * pay[0].mean()


def test_a_trajectory_goes_on_from_what_was_seen_where_it_begins(bonus):
    """What the head errs by there is taken off all that follows."""
    imagined, dreamt = embeds_what_it_is_given(bonus), make_dreamt()
    off = dreamt.features.clone()
    off[..., : bonus.encoder.size] += 30.0
    imagined.distiller.error = lambda states: torch.ones(len(states))
    expected = imagined.pay(dreamt)
    torch.testing.assert_close(imagined.pay(dreamt._replace(features=off)), expected)
    elsewhere = imagined.pay(dreamt._replace(embedded=dreamt.embedded + 30.0))
    assert (elsewhere[0] > expected[0]).all()  # later steps have others near by


def make_sequences(steps=12, seed=2) -> tuple[Tensor, Tensor, Tensor]:
    """Features, what is embedded as mixtures of them, and episodes: three in the last sequence."""
    features = some(steps, 3, FEATURES, seed=seed)
    episode = torch.zeros(steps, 3, dtype=torch.int64)
    episode[5:, 2] = 1
    episode[6:, 2] = 2
    return features, features @ some(FEATURES, 3, seed=9), episode


def test_the_head_learns_embeddings_but_not_what_an_episode_has_in_common(bonus):
    imagined = make("remembered", bonus)
    features, embedded, episode = make_sequences(200)
    offsets = 100.0 * some(3, 3, 3, seed=4)
    offset = offsets.gather(0, episode.unsqueeze(-1).expand(-1, -1, 3))
    optimiser = torch.optim.Adam(imagined.embedding.parameters(), 1e-3)
    shares = []
    for _ in range(300):
        loss = imagined.embedding_loss(features, embedded + offset, episode)
        shares.append(loss.share.item())
        optimiser.zero_grad()
        loss.nats.backward()
        optimiser.step()
    assert shares[-1] < 0.1 * shares[0]
    unseen, wanted, _ = make_sequences(50, seed=20)
    with torch.no_grad():
        missed = imagined.embedding(unseen) - wanted
    assert missed.flatten(0, 1).var(0).mean() < 0.5 * wanted.flatten(0, 1).var(0).mean()


@pytest.mark.parametrize("kind", ["remembered", "whitened"])
def test_the_embeddings_loss_by_hand(kind):
    bonus = of_kind(kind)
    imagined = make(kind, bonus)
    features, embedded, episode = make_sequences()
    loss = imagined.embedding_loss(features, embedded, episode)
    missed, around = (imagined.embedding(features) - embedded).detach(), embedded.clone()
    unbiased = torch.full((12, 3), torch.nan)
    for rows, sequence in ((slice(12), 0), (slice(12), 1), (slice(5), 2), (slice(6, 12), 2)):
        missed[rows, sequence] -= missed[rows, sequence].mean(0)
        around[rows, sequence] -= around[rows, sequence].mean(0)
        steps = len(missed[rows])
        unbiased[rows, sequence] = steps / (steps - 1)
    missed[5, 2] = around[5, 2] = 0.0
    share = missed.square().mean() / around.square().mean()
    torch.testing.assert_close(loss.share, share)
    # Half the logarithm of the mean square for each dimension, but for a constant and a floor.
    torch.testing.assert_close(loss.nats.detach(), 1.5 * (1000 * share + 1).log())
    zero = bonus.as_remembered(torch.zeros(1, 3))
    linear = bonus.as_remembered(missed.flatten(0, 1)) - zero
    squares = linear.square().sum(-1).view(12, 3) * unbiased
    torch.testing.assert_close(loss.errors, squares, rtol=1e-3, atol=1e-5, equal_nan=True)
    assert not loss.errors.requires_grad
    # Embeddings of any scale are learned alike.
    torch.nn.init.zeros_(imagined.embedding[-1].weight)
    small, large = (
        imagined.embedding_loss(features, scale * embedded, episode).nats for scale in (1.0, 1e3)
    )
    torch.testing.assert_close(small, large)
    # Where nothing differs there is nothing to miss.
    still = imagined.embedding_loss(features, torch.ones(12, 3, 3), episode)
    assert torch.isfinite(still.nats)


def sees_latents() -> NGU:
    """A bonus that sees states themselves, with memories of some."""
    space = Box(-np.inf, np.inf, (FEATURES,), np.float32)
    config = NGUConfig(memory_capacity=30, neighbours=2)
    bonus = NGU(space, Discrete(ACTIONS), ENVS, config=config, encoder=AsGiven(), seed=0)
    latents = some(40, ENVS, FEATURES, seed=7)
    bonus.begin(latents[0])
    for before, after in pairwise(latents):
        bonus.score(before, np.zeros(ENVS, np.int64), after)
    return bonus


def test_an_imagined_state_of_latents_is_paid_what_it_would_earn():
    bonus = sees_latents()
    imagined = RememberedLatents(bonus)
    for seed in range(3):
        imagined.learn(make_replayed(seed=seed))
    bonus.publish()
    reached = some(ENVS, FEATURES, seed=11)
    reached[0] *= 4.0  # far from all, as a modulator above 1 has it
    before = copy.deepcopy(bonus.state_dict())
    start = torch.full_like(reached, 500.0)  # not among the nearest
    actions = torch.zeros(1, ENVS, ACTIONS)
    paid = imagined.pay(Dreamt(torch.stack((start, reached)), actions, np.arange(ENVS)))[0]
    torch.testing.assert_close(bonus.state_dict(), before, rtol=0, atol=0)
    earned = bonus.eval().score(start, np.zeros(ENVS, np.int64), reached)
    torch.testing.assert_close(paid, earned, rtol=1e-4, atol=0)
    assert bonus.parts["lifelong_modulator"][0] > 1.5


def test_a_bonus_that_sees_latents_learns_from_replayed_ones():
    bonus = sees_latents()
    imagined, replayed = RememberedLatents(bonus), make_replayed(256)
    memory = copy.deepcopy(bonus.memory.state_dict())
    losses = [imagined.learn(replayed)["distillation_loss"] for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    torch.testing.assert_close(bonus.memory.state_dict(), memory, rtol=0, atol=0)
    assert not imagined.state_dict()  # the agent saves the bonus


def test_disagreement_falls_where_it_was_trained_and_stays_elsewhere(bonus):
    imagined = make("disagreement", bonus)
    replayed = make_replayed(32)
    # Only the first action was ever taken.
    action = torch.tensor([1.0, 0.0]).expand(32, ACTIONS)
    replayed = replayed._replace(
        action_tm1=torch.zeros(32, dtype=torch.int64), followed=torch.ones(32, dtype=torch.bool)
    )

    def variance(action: Tensor) -> float:
        return imagined.variance(replayed.features_tm1, action).mean().item()

    before, losses, variances = variance(action), [], []
    for _ in range(200):
        losses.append(imagined.learn(replayed)["disagreement_loss"])
        variances.append(variance(action))
    assert losses[-1] < 0.2 * losses[0]
    assert 0 < variance(action) < 0.2 * before
    assert variance(action.flip(1)) > 2 * variance(action)
    # It is paid in units of the mean over all that was replayed.
    features = torch.stack((replayed.features_tm1, replayed.features))
    paid = imagined.pay(Dreamt(features, action.unsqueeze(0), np.zeros(32, int))).mean().item()
    assert paid == pytest.approx(variance(action) / np.mean(variances), rel=1e-4)


def test_disagreement_is_the_variance_over_the_models(bonus):
    imagined, dreamt = make("disagreement", bonus), make_dreamt()
    paid = imagined.pay(dreamt)
    for t, n in ((0, 0), (3, 4)):
        read = torch.cat((dreamt.features[t, n], dreamt.actions[t, n])).unsqueeze(0)
        with torch.no_grad():
            said = torch.cat([model(read) for model in imagined.models.trained]).double().numpy()
        assert said.shape == (3, STOCHASTIC)
        assert paid[t, n].item() == pytest.approx(said.var(0).mean(), rel=1e-4)


def test_the_head_learns_what_states_earned(bonus):
    imagined, replayed = make("predicted", bonus), make_replayed(64)
    features = torch.stack((replayed.features_tm1, replayed.features))
    dreamt = Dreamt(features, torch.zeros(1, 64, ACTIONS), np.zeros(64, int))
    assert (imagined.pay(dreamt) == 0).all()
    losses = [imagined.learn(replayed)["novelty_head_loss"] for _ in range(600)]
    assert losses[-1] < 0.5 * losses[0]
    known = replayed.followed
    paid, earned = imagined.pay(dreamt)[0][known], replayed.reward_int[known]
    assert torch.corrcoef(torch.stack((paid, earned)))[0, 1] > 0.9


def test_latents_that_no_step_led_to_teach_a_bonus_nothing():
    replayed = make_replayed()
    unknown = torch.where(replayed.followed.unsqueeze(1), replayed.features, 1e6)
    first, second = (RememberedLatents(sees_latents()) for _ in range(2))
    assert first.learn(replayed) == second.learn(replayed._replace(features=unknown))
    none = replayed._replace(followed=torch.zeros_like(replayed.followed))
    assert first.learn(none) == {}


@pytest.mark.parametrize("kind", ["disagreement", "predicted"])
def test_states_that_no_step_led_to_teach_nothing(kind, bonus):
    replayed = make_replayed()
    other = replayed._replace(
        reward_int=torch.where(replayed.followed, replayed.reward_int, 1e6),
        features_tm1=torch.where(replayed.followed.unsqueeze(1), replayed.features_tm1, 1e6),
    )
    imagined, same = make(kind, bonus), make(kind, bonus)
    assert imagined.learn(replayed) == same.learn(other)
    torch.testing.assert_close(imagined.state_dict(), same.state_dict(), rtol=0, atol=0)
    # Where there is no step at all, as in few samples of short episodes there may be.
    none = replayed._replace(followed=torch.zeros_like(replayed.followed))
    before = copy.deepcopy(imagined.state_dict())
    assert imagined.learn(none) == {}
    torch.testing.assert_close(imagined.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_one_goes_on_as_if_it_had_not_stopped(kind):
    bonus = of_kind(kind)
    imagined, dreamt = make(kind, bonus), make_dreamt()
    fresh = imagined.pay(dreamt)
    for seed in range(3):
        imagined.learn(make_replayed(seed=seed))
    state = copy.deepcopy(imagined.state_dict())
    other = make(kind, bonus, seed=5)
    other.load_state_dict(state)
    paid = imagined.pay(dreamt)
    assert not torch.equal(paid, fresh)
    torch.testing.assert_close(other.pay(dreamt), paid, rtol=0, atol=0)
    for seed in range(3, 6):
        assert imagined.learn(make_replayed(seed=seed)) == other.learn(make_replayed(seed=seed))
    torch.testing.assert_close(other.pay(dreamt), imagined.pay(dreamt), rtol=0, atol=0)
    torch.testing.assert_close(other.state_dict(), imagined.state_dict(), rtol=0, atol=0)


def test_a_loss_that_is_not_finite_leaves_the_networks_as_they_were(bonus):
    for kind, name in (
        ("remembered", "imagined_distillation"),
        ("disagreement", "disagreement"),
        ("predicted", "novelty_head"),
    ):
        imagined, replayed = make(kind, bonus), make_replayed()
        replayed.features[1] = torch.nan
        before = {name: value.clone() for name, value in imagined.named_parameters()}
        with pytest.raises(FloatingPointError, match=f"{name}_loss is nan"):
            imagined.learn(replayed)
        for key, value in imagined.named_parameters():
            assert torch.equal(value, before[key]), key
