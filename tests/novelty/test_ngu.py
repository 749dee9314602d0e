"""NGU against the slow reference, and what it promises beyond the contract."""

import copy
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from ngu import NGU, NGUConfig

ACTIONS = gym.spaces.Discrete(4)
VECTORS = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
IMAGES = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)


def kernel_of(config):
    names = ("epsilon", "cluster_distance", "pseudo_count", "max_similarity")
    return {name: getattr(config, name) for name in names}


def score(bonus, obs, where=None):
    obs = np.asarray(obs)
    actions = np.zeros(len(obs), np.int64)
    return bonus.score(obs, actions, obs, where=where)


def walk(num_envs, steps, dim=4, seed=0):
    """Points of random walks on a lattice, so that exact repeats are frequent."""
    rng = np.random.default_rng(seed)
    moves = rng.integers(-1, 2, (steps, num_envs, dim)).astype(np.float32)
    return np.cumsum(moves * (rng.random((steps, num_envs, 1)) < 0.7), axis=0, dtype=np.float32)


@pytest.mark.parametrize(
    "config",
    [
        NGUConfig(),
        NGUConfig(memory_capacity=12),  # the ring is overwritten
        NGUConfig(epsilon=1e-2, cluster_distance=0.3, pseudo_count=0.5, neighbours=3),
        NGUConfig(max_similarity=2.0, max_modulator=1.5, embedding_size=5),
    ],
    ids=["paper", "ring", "kernel", "bounds"],
)
def test_equals_the_reference(reference, config):
    # Cold start, fewer than k neighbours, exact repeats, episodes that end at different steps.
    num_envs, steps = 4, 60
    bonus = NGU(VECTORS, ACTIONS, num_envs, config=config, seed=3, precision="float32")
    episodic = reference.Episodic(
        num_envs, config.neighbours, config.memory_capacity, **kernel_of(config)
    )
    lifelong = reference.Lifelong(config.max_modulator)
    points = walk(num_envs, steps + 1)
    embedded = [embed(bonus, obs) for obs in points]
    bonus.begin(points[0])
    for env in range(num_envs):
        episodic.begin(env, embedded[0][env])
    stepped = np.ones(num_envs, bool)
    seen = []
    for step in range(1, steps + 1):
        got = score(bonus, points[step], stepped)
        expected = np.array(episodic.score(embedded[step], stepped))
        np.testing.assert_allclose(bonus.parts["episodic_novelty"], expected, rtol=1e-4)

        seen.append(points[step][stepped])
        errors = distil(bonus, points[step][stepped], np.concatenate(seen))
        factors = np.zeros(num_envs)
        factors[stepped] = lifelong.score(errors)
        np.testing.assert_allclose(bonus.parts["lifelong_modulator"], factors, rtol=1e-3)
        np.testing.assert_allclose(got, expected * factors, rtol=1e-3)

        bonus.begin(points[step], where=~stepped)
        for env in np.flatnonzero(~stepped):
            episodic.begin(env, embedded[step][env])
        stepped = (step + 1) % np.array([7, 11, 1000, 23]) != 0
    assert bonus.memory.sizes.max() == min(steps + 1, config.memory_capacity)


def embed(bonus, obs):
    with torch.no_grad():
        return bonus.inverse_dynamics.embedding(torch.from_numpy(obs)).numpy()


def distil(bonus, obs, seen):
    """Squared errors of ``obs``, whitened in float64 with the moments of all that was seen."""
    mean, std = seen.astype(np.float64).mean(0), seen.astype(np.float64).std(0)
    bound = bonus.config.observation_bound
    white = np.clip((obs - mean) / np.maximum(std, 1e-6), -bound, bound)
    white = torch.from_numpy(white.astype(np.float32))
    with torch.no_grad():
        network = bonus.distiller.trained
        return ((network.predictor(white) - network.target(white)) ** 2).sum(-1).double().numpy()


@pytest.mark.parametrize(
    "config",
    [
        NGUConfig(),
        NGUConfig(memory_capacity=12),
        NGUConfig(epsilon=1e-2, cluster_distance=0.3, pseudo_count=0.5, neighbours=3),
        NGUConfig(embedding_size=3, neighbours=20, whiten=True),
    ],
    ids=["paper", "ring", "kernel", "whitened"],
)
def test_imagined_novelty_equals_the_reference(reference, config):
    """The nearest of the memory and of what the same trajectory has passed, in slow loops.

    It has passed imagined states, and replayed ones before: here two trajectories a sequence.
    """
    num_envs, horizon, count = 3, 5, 8
    bonus = NGU(VECTORS, ACTIONS, num_envs, config=config, seed=3, precision="float32")
    points = walk(num_envs, 31)
    bonus.begin(points[0])
    for step in range(1, 31):
        bonus.begin(points[step], where=np.array([False, False, step == 28]))
        score(bonus, points[step], np.array([True, True, step != 28]))
    memories = [bonus.memory._entries[env, :size] for env, size in enumerate(bonus.memory.sizes)]
    assert [len(memory) for memory in memories] == [min(31, config.memory_capacity)] * 2 + [3]
    memories.append(torch.empty(0, config.embedding_size))
    rng = np.random.default_rng(1)
    envs = np.array([0, 1, 2, 0, -1, 2, 1, 1])  # one without a memory
    imagined = torch.from_numpy(np.stack([embed(bonus, x) for x in walk(count, 6, seed=4)]))
    imagined += torch.from_numpy(rng.standard_normal(imagined.shape, dtype=np.float32)) * 1e-2
    passed = torch.from_numpy(np.stack([embed(bonus, x) for x in walk(count // 2, 4, seed=5)]))
    counted = torch.from_numpy(rng.random((4, count)) < 0.5)
    before = copy.deepcopy(bonus.state_dict())

    def as_compared(embeddings):
        if bonus.whitening is None:
            return embeddings
        assert bonus.whitening.known
        return bonus.whitening(embeddings.flatten(0, 1)).view_as(embeddings)

    compared, replayed = as_compared(imagined), as_compared(passed)
    mean = float(bonus._distances.mean)
    for given in (False, True):
        of_replay = {"passed": passed, "counted": counted} if given else {}
        got = bonus.imagined_novelty(imagined, envs, **of_replay)
        assert got.shape == (horizon, count)
        for i, env in enumerate(envs):
            led_here = replayed[counted[:, i], i % 4].numpy() if given else []
            for t in range(1, horizon + 1):
                known = [*memories[env].numpy(), *led_here, *compared[:t, i].numpy()]
                found = reference.nearest(known, compared[t, i].numpy(), config.neighbours)
                expected = reference.novelty(found, mean, **kernel_of(config))
                assert got[t - 1, i].item() == pytest.approx(expected, rel=2e-3), (t, i, given)
    after = bonus.state_dict()
    assert before.keys() == after.keys()
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_imagination_where_nothing_is_remembered():
    bonus = NGU(VECTORS, ACTIONS, 2, seed=3)
    bonus.begin(np.zeros((2, 4), np.float32))
    score(bonus, np.ones((2, 4), np.float32))
    bonus.memory.clear(np.array([True, False]))
    still = torch.ones(3, 2, bonus.encoder.size)
    novelty = bonus.imagined_novelty(still, np.array([0, 0]))
    # The same place again: one neighbour, then two, at no distance.
    expected = torch.tensor([1 / (1 + 1e-3), 1 / (2**0.5 + 1e-3)])
    torch.testing.assert_close(novelty, expected.unsqueeze(1).expand(2, 2))


def test_what_errs_within_the_tolerance_is_what_is_remembered():
    bonus = NGU(VECTORS, ACTIONS, 1, seed=3)
    points = walk(1, 20)
    bonus.begin(points[0])
    for point in points[1:]:
        score(bonus, point, np.array([True]))
    far = torch.full((1, 1, bonus.encoder.size), 1e3)
    known = bonus.memory._entries[0, 7].view(1, 1, -1)
    near = known.clone()
    near[..., 0] += 1.0
    exact, missed, tolerated = (
        bonus.imagined_novelty(torch.cat((far, state)), np.array([0]), tolerance=tolerance).item()
        for state, tolerance in ((known, 0.0), (near, 0.0), (near, 1.01))
    )
    assert missed > exact
    # All other distances shrink by the tolerance as well, so that it is paid no more.
    assert tolerated <= exact
    # What was seen in the replay and where imagination begins were not imagined either.
    nowhere, passed = np.array([-1]), {"passed": known, "counted": torch.tensor([[True]])}
    for begin, seen in ((far, passed), (known, {})):
        exact, missed, tolerated = (
            bonus.imagined_novelty(torch.cat((begin, state)), nowhere, **seen, tolerance=t).item()
            for state, t in ((known, 0.0), (near, 0.0), (near, 1.01))
        )
        assert missed > exact
        assert tolerated == pytest.approx(exact)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scaling_all_embeddings_changes_nothing(scale):
    points = walk(3, 40)
    plain, scaled = (NGU(VECTORS, ACTIONS, 3, seed=0, precision="float32") for _ in range(2))
    for network in scaled.encoder.versions:
        network.last.weight.mul_(scale)
        network.last.bias.mul_(scale)
    for bonus in (plain, scaled):
        bonus.begin(points[0])
    for obs in points[1:]:
        np.testing.assert_allclose(score(scaled, obs), score(plain, obs), rtol=1e-3)


def test_the_first_score_is_right():
    # Two environments, one neighbour each: the mean of both distances normalises both.
    config = NGUConfig(epsilon=0.5, cluster_distance=0.0, pseudo_count=0.25)
    bonus = NGU(VECTORS, ACTIONS, 2, config=config)
    for version in range(config.embedding_versions):
        bonus.encoder.versions[version] = nn.Identity()
    bonus.memory = type(bonus.memory)(2, 4)
    bonus.begin(np.zeros((2, 4), np.float32))
    score(bonus, np.float32([[1, 0, 0, 0], [0, 0, 0, 3]]))
    # Squared distances 1 and 9, mean 5: d = .2 and 1.8, K = .5 / .7 and .5 / 2.3.
    expected = [1 / (math.sqrt(0.5 / 0.7) + 0.25), 1 / (math.sqrt(0.5 / 2.3) + 0.25)]
    assert bonus.parts["episodic_novelty"].tolist() == pytest.approx(expected)


def test_an_exact_repeat_is_worth_a_third_and_the_new_far_more():
    bonus = NGU(VECTORS, ACTIONS, 1, seed=0)
    places = np.random.default_rng(0).standard_normal((20, 1, 4), dtype=np.float32)
    bonus.begin(places[0])
    first = [score(bonus, place)[0] for place in places[1:]]
    for _ in range(12):
        score(bonus, places[5])
    score(bonus, places[5])
    again = bonus.parts["episodic_novelty"][0]
    assert again == pytest.approx(1 / (math.sqrt(10) + 0.001), rel=1e-3)
    assert min(first) > 10 * again


def images(batch, seed):
    return np.random.default_rng(seed).integers(0, 256, (batch, 1, 36, 36), dtype=np.uint8)


def train(bonus, seed=0, publish=True, updates=3):
    for update in range(updates):
        batch = images(16, seed + 2 * update), images(16, seed + 2 * update + 1)
        bonus.update(batch[0], np.arange(16) % 4, batch[1], publish=publish)


def embeddings_of(bonus, obs):
    with torch.no_grad():
        return bonus.encoder(torch.from_numpy(obs), np.ones(len(obs), bool)).numpy()


def test_an_embedding_changes_only_when_its_memory_begins():
    untrained, trained = (NGU(IMAGES, ACTIONS, 2, seed=0) for _ in range(2))
    obs = images(2, 100)
    for bonus in (untrained, trained):
        bonus.begin(obs)
        score(bonus, images(2, 101))
    train(trained)
    for seed in range(102, 106):
        for bonus in (untrained, trained):
            score(bonus, images(2, seed))
        np.testing.assert_array_equal(
            trained.parts["episodic_novelty"], untrained.parts["episodic_novelty"]
        )
    before = embeddings_of(trained, obs)
    trained.begin(obs, where=np.array([True, False]))
    after = embeddings_of(trained, obs)
    assert not np.array_equal(after[0], before[0])
    np.testing.assert_allclose(after[1], before[1], rtol=1e-5)


def test_the_predictor_changes_when_it_is_published():
    bonus = NGU(IMAGES, ACTIONS, 2, seed=0)
    bonus.begin(images(2, 100))
    score(bonus, images(2, 101))
    bonus.eval()
    distiller = bonus.distiller
    obs = torch.from_numpy(images(2, 102))
    before = distiller.error(obs)
    train(bonus, publish=False)
    assert torch.equal(distiller.error(obs), before)
    bonus.publish()
    assert not torch.equal(distiller.error(obs), before)
    torch.testing.assert_close(
        distiller.error(obs),
        distiller.trained(obs, distiller.moments),
        rtol=0.1,
        atol=0.0,
    )


def test_versions_are_never_taken_from_an_environment():
    config = NGUConfig(embedding_versions=3)
    bonus = NGU(IMAGES, ACTIONS, 4, config=config, seed=0)
    obs = images(4, 100)
    bonus.begin(obs)
    held = embeddings_of(bonus, obs)
    rng = np.random.default_rng(0)
    distinct = set()
    for step in range(12):
        train(bonus, seed=10 * step, updates=1)
        assert np.array_equal(embeddings_of(bonus, obs), held)
        where = rng.random(4) < 0.3
        bonus.begin(obs, where=where)
        now = embeddings_of(bonus, obs)
        for env in range(4):
            if not where[env]:
                np.testing.assert_allclose(now[env], held[env], rtol=0.02, atol=0.02)
        held = now
        distinct.add(len(set(bonus.encoder.use.version_of.tolist())))
        used = {int(version) for version in bonus.encoder.use.version_of}
        assert used <= set(range(3))
    assert max(distinct) == 3
    bonus.publish()
    bonus.begin(obs)
    bonus.publish()
    bonus.begin(obs)
    newest = embed_images(bonus, obs)
    np.testing.assert_allclose(embeddings_of(bonus, obs), newest, rtol=0.05, atol=0.05)


def embed_images(bonus, obs):
    with torch.no_grad():
        return bonus.inverse_dynamics.embedding(torch.from_numpy(obs)).numpy()


def test_a_memory_may_last_over_several_episodes():
    config = NGUConfig(episodes_per_memory=2)
    bonus = NGU(VECTORS, ACTIONS, 2, config=config)
    points = walk(2, 10)
    first = np.array([True, False])
    bonus.begin(points[0])
    score(bonus, points[1])
    bonus.begin(points[2], where=first)
    assert bonus.memory.sizes.tolist() == [3, 2]
    score(bonus, points[3])
    bonus.begin(points[4], where=first)
    assert bonus.memory.sizes.tolist() == [1, 3]


def test_a_loss_that_is_not_finite_stops_before_anything_changes():
    bonus = NGU(VECTORS, gym.spaces.Box(-np.inf, np.inf, (1,), np.float32), 1)
    obs = np.ones((3, 4), np.float32)
    bonus.update(obs, np.ones((3, 1), np.float32), obs)
    before = copy.deepcopy(bonus.state_dict())
    with pytest.raises(FloatingPointError, match="inverse_dynamics_loss is inf"):
        bonus.update(obs, np.full((3, 1), 1e30, np.float32), obs)
    with torch.no_grad():
        bonus.distiller.trained.predictor.last.bias[0] = torch.inf
    with pytest.raises(FloatingPointError, match="distillation_loss is inf"):
        bonus.update(obs, np.ones((3, 1), np.float32), obs)
    for name, value in bonus.state_dict().items():
        if isinstance(value, torch.Tensor) and name != "distiller.trained.predictor.last.bias":
            assert torch.equal(value, before[name]), name


def test_training_lowers_both_losses():
    rng = np.random.default_rng(0)
    bonus = NGU(VECTORS, ACTIONS, 1, config=NGUConfig(learning_rate=2e-3))
    moves = np.float32([[1, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0]])
    metrics = []
    for _ in range(300):
        before = rng.standard_normal((64, 4), dtype=np.float32)
        actions = rng.integers(4, size=64)
        metrics.append(bonus.update(before, actions, before + moves[actions]))
    assert metrics[-1]["inverse_dynamics_loss"] < 0.3 < metrics[0]["inverse_dynamics_loss"]
    assert metrics[-1]["inverse_dynamics_accuracy"] > 0.9
    assert metrics[-1]["distillation_loss"] < 0.3 * metrics[0]["distillation_loss"]


def test_metrics_of_a_box_have_no_accuracy():
    bonus = NGU(VECTORS, gym.spaces.Box(-1, 1, (1,), np.float32), 1)
    obs = np.ones((3, 4), np.float32)
    metrics = bonus.update(obs, np.ones((3, 1), np.float32), obs)
    assert metrics.keys() == {"inverse_dynamics_loss", "distillation_loss"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"neighbours": 0}, "neighbours must be above 0, got 0"),
        ({"epsilon": -1.0}, "epsilon must be above 0"),
        ({"epsilon": float("nan")}, "epsilon must be above 0, got nan"),
        ({"weight_decay": -1e-5}, "weight_decay must be at least 0"),
        ({"max_modulator": 0.5}, "max_modulator must be at least 1, got 0.5"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        NGUConfig(**setting)


def test_bfloat16_is_within_one_percent_on_real_frames(montezuma):
    observations, actions, frames, taken, stepped = montezuma
    rewards = {}
    for precision in ("float32", "bfloat16"):
        bonus = NGU(observations, actions, frames.shape[1], seed=0, precision=precision)
        bonus.begin(frames[0])
        scored = []
        for step in range(len(taken)):
            scored.append(
                bonus.score(frames[step], taken[step], frames[step + 1], where=stepped[step])
            )
            bonus.begin(frames[step + 1], where=~stepped[step])
        rewards[precision] = np.stack(scored)[stepped]
    exact, low = rewards["float32"], rewards["bfloat16"]
    assert exact.size > 10_000
    error = np.abs(low - exact) / exact
    assert 0 < error.mean() < 0.01
    assert np.quantile(error, 0.99) < 0.01
