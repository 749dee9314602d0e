"""The lifelong part, computed afresh, times what the episode gave is the reward."""

import gymnasium as gym
import numpy as np
import pytest

from ngu import E3B, ICM, NGU, RE3, RIDE, RND, Combined, Disagreement, NovelD

E = 4
SPACE = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
ACTIONS = gym.spaces.Discrete(3)


def product(*arguments):
    return Combined([E3B(*arguments), RND(*arguments), RIDE(*arguments)])


# Each bonus, and what of its parts the episode gave.
MEMBERS = {
    "NGU": (NGU, lambda parts: parts["episodic_novelty"]),
    "RND": (RND, lambda parts: 1),
    "ICM": (ICM, lambda parts: 1),
    "Disagreement": (Disagreement, lambda parts: 1),
    "RIDE": (RIDE, lambda parts: 1 / np.sqrt(parts["visits"])),
    "NovelD": (NovelD, lambda parts: parts["first_visit"]),
    "product": (product, lambda parts: parts["0 E3B"] / np.sqrt(parts["2 RIDE/visits"])),
}


def steps(count, seed=0):
    """Transitions [T, E] of lattice walks, on which states come again."""
    rng = np.random.default_rng(seed)
    moves = rng.integers(-1, 2, (count + 1, E, 4)) * (rng.random((count + 1, E, 1)) < 0.6)
    points = np.cumsum(moves, axis=0).astype(np.float32)
    return points[:-1], rng.integers(3, size=(count, E)), points[1:]


def trained(kind):
    """A bonus that has scored and learned, and is frozen."""
    bonus = kind(SPACE, ACTIONS, E)
    for before, actions, after in zip(*steps(20), strict=True):
        if not bonus.episodes.all():
            bonus.begin(before)
        bonus.score(before, actions, after)
        bonus.update(before, actions, after)
    return bonus.eval()


@pytest.mark.parametrize(("kind", "episodic"), MEMBERS.values(), ids=MEMBERS)
def test_with_the_episodic_part_it_is_the_reward(kind, episodic):
    bonus, walk = trained(kind), steps(30, seed=1)
    bonus.begin(walk[0][0])
    scored = []
    for before, actions, after in zip(*walk, strict=True):
        reward = bonus.score(before, actions, after)
        scored.append((reward, np.broadcast_to(episodic(bonus.parts), E)))
    rewards, episodes = np.stack(scored, axis=1).reshape(2, -1)
    before, actions, after = (part.reshape(-1, *part.shape[2:]) for part in walk)
    fresh = bonus.lifelong(after, obs_tm1=before, action_tm1=actions)
    assert fresh.shape == (30 * E,)
    np.testing.assert_allclose(episodes * fresh, rewards, rtol=1e-4, atol=1e-7)
    assert len(np.unique(rewards)) > 10


@pytest.mark.parametrize("kind", [NGU, RND])
def test_of_states_alone(kind):
    bonus = trained(kind)
    before, actions, after = (part[0] for part in steps(1, seed=2))
    alone = bonus.lifelong(after)
    np.testing.assert_array_equal(alone, bonus.lifelong(after, obs_tm1=before, action_tm1=actions))
    other = kind(SPACE, ACTIONS, 1)  # no episode has begun there
    other.load_learned(bonus.state_dict())
    np.testing.assert_array_equal(other.lifelong(after), alone)


def test_it_fades_as_the_networks_learn():
    bonus = trained(RND)
    obs = steps(1, seed=2)[2][0]
    before = bonus.lifelong(obs)
    for _ in range(50):
        bonus.update(obs, np.zeros(E, np.int64), obs, publish=False)
    np.testing.assert_array_equal(bonus.lifelong(obs), before)
    bonus.publish()
    assert (bonus.lifelong(obs) < before).all()


@pytest.mark.parametrize("kind", [ICM, Disagreement, RIDE, NovelD, product])
def test_a_part_of_transitions_needs_them(kind):
    bonus = kind(SPACE, ACTIONS, E)
    before, actions, after = (part[0] for part in steps(1))
    with pytest.raises(TypeError, match=r"that of a transition.* got no obs_tm1"):
        bonus.lifelong(after, action_tm1=actions)
    with pytest.raises(TypeError, match=r"that of a transition.* got no action_tm1"):
        bonus.lifelong(after, obs_tm1=before)
    with pytest.raises(ValueError, match="obs_tm1 must"):
        bonus.lifelong(after, obs_tm1=before[:2], action_tm1=actions)
    with pytest.raises(ValueError, match="action_tm1 must"):
        bonus.lifelong(after, obs_tm1=before, action_tm1=actions + 5)


def test_what_has_no_lifelong_part_says_so():
    def total(*arguments):
        return Combined([RND(*arguments), ICM(*arguments)], how="sum")

    for kind, name in ((RE3, "RE3"), (E3B, "E3B"), (total, "Combined")):
        with pytest.raises(NotImplementedError, match=f"{name} has no lifelong part"):
            kind(SPACE, ACTIONS, E).lifelong(steps(1)[2][0])
