"""Each bonus against a slow reference in float64, written from its paper's formula."""

import copy
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from ngu import (
    E3B,
    ICM,
    NGU,
    RE3,
    RIDE,
    RND,
    Combined,
    Disagreement,
    DisagreementConfig,
    E3BConfig,
    EpisodicMemory,
    ICMConfig,
    NGUConfig,
    NovelD,
    NovelDConfig,
    RE3Config,
    RIDEConfig,
)

E, STEPS, DIM = 3, 40, 4
SPACE = gym.spaces.Box(-np.inf, np.inf, (DIM,), np.float32)
ACTIONS = gym.spaces.Discrete(4)


def trained(kind, **config):
    """A bonus with weights that some updates have moved, all published."""
    options = {"config": kind_config(kind)(**config)} if config else {}
    bonus = kind(SPACE, ACTIONS, E, seed=1, precision="float32", **options)
    rng = np.random.default_rng(5)
    for _ in range(3):
        obs, reached = rng.standard_normal((2, 16, DIM), dtype=np.float32)
        bonus.update(obs, rng.integers(4, size=16), reached)
    return bonus


def kind_config(kind):
    return {
        E3B: E3BConfig,
        RE3: RE3Config,
        RIDE: RIDEConfig,
        NovelD: NovelDConfig,
        ICM: ICMConfig,
        Disagreement: DisagreementConfig,
    }[kind]


def episodes(bonus):
    """Plays lattice walks whose episodes end at different steps; each score with what led to it.

    Yields the environment, its episode's states so far, the action and the reward.
    """
    rng = np.random.default_rng(0)
    moves = rng.integers(-1, 2, (STEPS + 1, E, DIM)) * (rng.random((STEPS + 1, E, 1)) < 0.7)
    points = np.cumsum(moves, axis=0).astype(np.float32)
    history = [[points[0, env]] for env in range(E)]
    bonus.begin(points[0])
    for t in range(1, STEPS + 1):
        action = rng.integers(4, size=E)
        stepped = t % np.array([7, 11, 1000]) != 0
        rewards = bonus.score(points[t - 1], action, points[t], where=stepped)
        bonus.begin(points[t], where=~stepped)
        for env in range(E):
            if stepped[env]:
                history[env].append(points[t, env])
                yield env, history[env], action[env], rewards[env]
            else:
                assert rewards[env] == 0
                history[env] = [points[t, env]]


def embedding(bonus):
    network = copy.deepcopy(bonus.encoder.trained).double()
    network.forward = lambda x: network.last(network.trunk(x))

    @torch.no_grad()
    def embed(points):
        return network(torch.from_numpy(np.asarray(points, np.float64))).numpy()

    return embed


def check(pairs, rtol=1e-3, atol=1e-5):
    got, expected = np.array(pairs, np.float64).T
    assert len(np.unique(expected)) > 10
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)


def test_e3b():
    bonus = trained(E3B, ridge=0.3)
    embed = embedding(bonus)
    pairs = []
    for _, states, _, reward in episodes(bonus):
        f = embed(states)
        matrix = 0.3 * np.eye(f.shape[1]) + f[:-1].T @ f[:-1]
        pairs.append((reward, f[-1] @ np.linalg.inv(matrix) @ f[-1]))
    check(pairs)


def test_re3_looks_through_all_episodes():
    bonus = trained(RE3, neighbours=4)
    embed = embedding(bonus)
    known = [[] for _ in range(E)]
    pairs = []
    for env, states, _, reward in episodes(bonus):
        # What this environment's earlier episodes held comes back by way of the first state.
        if len(states) == 2:
            known[env].append(embed(states[:1])[0])
        f = embed(states[-1:])[0]
        distances = sorted(np.linalg.norm(np.array(known[env]) - f, axis=1))
        pairs.append((reward, math.log(1 + distances[min(4, len(distances)) - 1])))
        known[env].append(f)
    check(pairs)


def test_re3_may_forget_episodes():
    bonus = trained(RE3, neighbours=2, episodes_per_memory=1)
    embed = embedding(bonus)
    pairs = []
    for _, states, _, reward in episodes(bonus):
        f = embed(states)
        distances = sorted(np.linalg.norm(f[:-1] - f[-1], axis=1))
        pairs.append((reward, math.log(1 + distances[min(2, len(distances)) - 1])))
    check(pairs)


def test_ride():
    bonus = trained(RIDE)
    embed = embedding(bonus)
    pairs = []
    for _, states, _, reward in episodes(bonus):
        before, after = embed(states[-2:])
        visits = sum(np.array_equal(states[-1], state) for state in states)
        pairs.append((reward, np.linalg.norm(after - before) / math.sqrt(visits)))
    check(pairs)


def test_icm():
    bonus = trained(ICM, eta=0.4)
    embed = embedding(bonus)
    model = copy.deepcopy(bonus.forward_model.trained[0]).double()
    pairs = []
    for _, states, action, reward in episodes(bonus):
        before, after = embed(states[-2:])
        read = torch.from_numpy(np.concatenate([before, np.eye(4)[action]]))
        with torch.no_grad():
            error = model(read).numpy() - after
        pairs.append((reward, 0.4 / 2 * (error**2).sum()))
    check(pairs)


def test_disagreement():
    bonus = trained(Disagreement, models=3)
    embed = embedding(bonus)
    models = copy.deepcopy(bonus.forward_models.trained).double()
    assert len(models) == 3
    pairs = []
    for _, states, action, reward in episodes(bonus):
        read = torch.from_numpy(np.concatenate([embed(states[-2:-1])[0], np.eye(4)[action]]))
        with torch.no_grad():
            predictions = np.stack([model(read).numpy() for model in models])
        pairs.append((reward, predictions.var(axis=0).mean()))
    check(pairs)


def errors_of(bonus, points):
    """Squared errors of float64 copies of both networks, whitened with the bonus's moments."""
    network, moments = copy.deepcopy(bonus.distiller.trained).double(), bonus.distiller.moments
    white = (np.asarray(points, np.float64) - moments.mean.numpy()) / moments.std.numpy()
    white = torch.from_numpy(white.clip(-network.bound, network.bound))
    outputs = [part.last(part.trunk(white)) for part in (network.predictor, network.target)]
    return (outputs[0] - outputs[1]).square().sum(-1).detach().numpy()


def with_moments(bonus):
    """The bonus, its moments those of many observations, and frozen."""
    rng = np.random.default_rng(2)
    bonus.distiller.observe(torch.from_numpy(rng.normal(1, 3, (100, DIM)).astype(np.float32)))
    return bonus.eval()


def test_rnd():
    bonus = with_moments(trained(RND))
    check([(reward, errors_of(bonus, s[-1:])[0]) for _, s, _, reward in episodes(bonus)])


def test_noveld():
    bonus = with_moments(trained(NovelD, alpha=0.7))
    pairs = []
    for _, states, _, reward in episodes(bonus):
        left, reached = np.sqrt(errors_of(bonus, states[-2:]))
        first = not any(np.array_equal(states[-1], state) for state in states[:-1])
        pairs.append((reward, max(reached - 0.7 * left, 0) * first))
    assert 0.1 < np.mean([expected == 0 for _, expected in pairs]) < 0.9
    check(pairs)


@pytest.mark.parametrize("how", ["product", "sum"])
def test_combined(how):
    alone = trained(E3B), trained(RIDE)
    together = Combined([trained(E3B), trained(RIDE)], how=how)
    combine = np.multiply if how == "product" else np.add
    for first, second, both in zip(*map(episodes, (*alone, together)), strict=True):
        assert both[3] == pytest.approx(combine(first[3], second[3]), rel=1e-5)
    assert list(together.parts) == ["0 E3B", "1 RIDE", "1 RIDE/impact", "1 RIDE/visits"]
    obs = np.ones((5, DIM), np.float32)
    metrics = together.update(obs, np.zeros(5, np.int64), 0 * obs)
    assert set(metrics) >= {"0 E3B/inverse_dynamics_loss", "1 RIDE/inverse_dynamics_loss"}


def test_what_cannot_be_combined_is_refused():
    bonus = RND(SPACE, ACTIONS, E)
    with pytest.raises(ValueError, match="two or more different ones, got 1"):
        Combined([bonus])
    with pytest.raises(ValueError, match="two or more different ones, got 2"):
        Combined([bonus, bonus])
    with pytest.raises(ValueError, match="num_envs: bonus 0 has 3, bonus 1 4"):
        Combined([bonus, RND(SPACE, ACTIONS, 4)])
    # Under test the annotation is checked before the value.
    with pytest.raises((ValueError, TypeCheckError), match="mean"):
        Combined([bonus, RND(SPACE, ACTIONS, E)], how="mean")


@pytest.mark.parametrize("kind", [NGU, E3B, RE3, RIDE, ICM, Disagreement])
def test_any_module_can_embed(kind):
    network = torch.nn.Linear(DIM, 7)
    bonus = kind(SPACE, ACTIONS, E, encoder=network)
    assert bonus.encoder.size == 7
    assert bonus.inverse_dynamics is None
    before = copy.deepcopy(network.state_dict())
    rewards = [reward for *_, reward in episodes(bonus)]
    assert len(np.unique(rewards)) > 10
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((16, DIM), dtype=np.float32)
    bonus.update(obs, rng.integers(4, size=16), obs)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(ValueError, match=r"encoder must map .* got float32 \[2, 4, 1\] for B = 2"):
        kind(SPACE, ACTIONS, E, encoder=torch.nn.Unflatten(1, (DIM, 1)))


def test_a_users_module_is_taken_over_when_it_is_published():
    network = torch.nn.Linear(DIM, 7)
    bonus = E3B(SPACE, ACTIONS, 1, encoder=network, config=E3BConfig(embedding_versions=2))
    obs = np.ones((1, DIM), np.float32)

    def reward():
        bonus.begin(0 * obs)
        return bonus.score(obs, np.zeros(1, np.int64), obs)[0]

    before = reward()
    with torch.no_grad():
        network.weight.mul_(2.0)
    assert reward() == before
    bonus.publish()
    assert reward() != before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"embedding_size": 0}, "embedding_size must be above 0, got 0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
    ],
)
def test_bad_settings(config, message):
    for kind in (NGUConfig, E3BConfig, RE3Config):
        with pytest.raises(ValueError, match=message):
            kind(**config)


def test_too_few_models_to_disagree():
    with pytest.raises(ValueError, match="models must be at least 2, got 1"):
        DisagreementConfig(models=1)


def test_the_memory_of_re3_is_bounded():
    bonus = RE3(SPACE, ACTIONS, E, config=RE3Config(memory_capacity=10))
    for _ in episodes(bonus):
        pass
    assert isinstance(bonus.memory, EpisodicMemory)
    assert bonus.memory.sizes.tolist() == [10, 10, 10]
