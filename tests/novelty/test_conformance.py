"""What every intrinsic reward keeps to, whatever it computes; a new one joins MEMBERS."""

import copy
import threading

import gymnasium as gym
import numpy as np
import pytest
import torch

from ngu import (
    E3B,
    ICM,
    NGU,
    RE3,
    RIDE,
    RND,
    Combined,
    Disagreement,
    IntrinsicReward,
    NovelD,
)

E = 6


def product(*arguments, **options):
    """Two members as one."""
    return Combined([E3B(*arguments, **options), RND(*arguments, **options)])


MEMBERS = {
    "NGU": NGU,
    "RND": RND,
    "ICM": ICM,
    "RE3": RE3,
    "RIDE": RIDE,
    "E3B": E3B,
    "NovelD": NovelD,
    "Disagreement": Disagreement,
    "E3B x RND": product,
}
OBSERVATIONS = {
    "image": gym.spaces.Box(0, 255, (1, 36, 36), np.uint8),
    "image_last": gym.spaces.Box(0, 255, (36, 40, 3), np.uint8),
    "grid": gym.spaces.Box(0, 10, (7, 7, 3), np.uint8),
    "vector": gym.spaces.Box(-2, 2, (4,), np.float32),
    "discrete": gym.spaces.Discrete(5, start=1),
}
ACTIONS = {
    "discrete": gym.spaces.Discrete(4, start=2),
    "multi_discrete": gym.spaces.MultiDiscrete([2, 3]),
    "box": gym.spaces.Box(-1, 1, (2,), np.float32),
}


class Stream:
    """Random observations and actions of a seeded space, as vector environments give them."""

    def __init__(self, observations, actions, seed=0):
        self.observation_space = copy.deepcopy(observations)
        self.action_space = copy.deepcopy(actions)
        self.observation_space.seed(seed)
        self.action_space.seed(seed)

    def obs(self, batch=E):
        return np.stack([np.asarray(self.observation_space.sample()) for _ in range(batch)])

    def actions(self, batch=E):
        return np.stack([np.asarray(self.action_space.sample()) for _ in range(batch)])


@pytest.fixture(params=MEMBERS)
def member(request):
    return MEMBERS[request.param]


@pytest.fixture(params=OBSERVATIONS)
def observations(request):
    return OBSERVATIONS[request.param]


@pytest.fixture(params=ACTIONS)
def actions(request):
    return ACTIONS[request.param]


def vectors(member, num_envs=E, **options):
    return member(OBSERVATIONS["vector"], ACTIONS["discrete"], num_envs, **options)


def play(bonus, stream, steps, *, update=True):
    """Rewards [steps, E] of a run in which environments end at different steps."""
    rewards = []
    obs = stream.obs()
    bonus.begin(obs)
    for step in range(steps):
        previous, acts, obs = obs, stream.actions(), stream.obs()
        stepped = np.arange(E) != step % (2 * E)
        rewards.append(bonus.score(previous, acts, obs, where=stepped))
        bonus.begin(obs, where=~stepped)
        if update and step % 3 == 2:
            bonus.update(stream.obs(7), stream.actions(7), stream.obs(7))
    return np.stack(rewards)


def flat(tree, name=""):
    """Leaves of a nested state by path."""
    if isinstance(tree, dict):
        return {k: v for key, item in tree.items() for k, v in flat(item, f"{name}/{key}").items()}
    if isinstance(tree, list | tuple):
        return flat(dict(enumerate(tree)), name)
    return {name: tree}


def assert_same_state(a, b):
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for name, value in a.items():
        same = torch.equal(value, b[name]) if isinstance(value, torch.Tensor) else value == b[name]
        assert same, name


def test_every_space_is_scored_and_trained(member, observations, actions):
    bonus = member(observations, actions, E, seed=0)
    assert isinstance(bonus, IntrinsicReward)
    stream = Stream(observations, actions)
    rewards = play(bonus, stream, 4)
    assert rewards.dtype == np.float32
    assert rewards.shape == (4, E)
    assert np.isfinite(rewards).all()
    np.testing.assert_array_equal(np.diag(rewards[:, :4]), 0.0)
    paid = rewards[~np.eye(4, E, dtype=bool)]
    assert (paid >= 0).all()
    assert (paid > 0).mean() > 0.25
    metrics = bonus.update(stream.obs(5), stream.actions(5), stream.obs(5), publish=False)
    assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values())


def test_the_same_seed_gives_the_same_floats_and_another_does_not(member):
    first, second, other = (
        play(vectors(member, seed=seed), Stream(OBSERVATIONS["vector"], ACTIONS["discrete"]), 12)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_global_random_state_is_not_touched(member):
    before = torch.get_rng_state()
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002  # the global state is what is tested
    play(vectors(member), Stream(OBSERVATIONS["vector"], ACTIONS["discrete"]), 6)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002  # as above


def test_tensors_in_tensors_out(member, observations):
    streams = [Stream(observations, ACTIONS["discrete"]) for _ in range(2)]
    arrays, tensors = (member(observations, ACTIONS["discrete"], E, seed=0) for _ in range(2))
    before, acts, after = (f() for f in (streams[0].obs, streams[0].actions, streams[0].obs))
    arrays.begin(before)
    tensors.begin(torch.from_numpy(before))
    expected = arrays.score(before, acts, after)
    got = tensors.score(*map(torch.from_numpy, (before, acts, after)))
    assert isinstance(got, torch.Tensor)
    assert not got.requires_grad
    assert not got.is_inference()
    np.testing.assert_array_equal(got.numpy(), expected)
    for name, part in arrays.parts.items():
        assert isinstance(part, np.ndarray)
        assert part.dtype == np.float32
        np.testing.assert_array_equal(tensors.parts[name].numpy(), part)


def test_permuting_the_environments_permutes_the_rewards(member, observations):
    order = np.random.default_rng(0).permutation(E)
    straight, permuted = (member(observations, ACTIONS["discrete"], E, seed=0) for _ in range(2))
    stream = Stream(observations, ACTIONS["discrete"])
    obs = stream.obs()
    straight.begin(obs)
    permuted.begin(obs[order])
    for step in range(8):
        previous, acts, obs = obs, stream.actions(), stream.obs()
        stepped = np.arange(E) != step
        expected = straight.score(previous, acts, obs, where=stepped)
        got = permuted.score(previous[order], acts[order], obs[order], where=stepped[order])
        np.testing.assert_allclose(got, expected[order], rtol=1e-4)
        straight.begin(obs, where=~stepped)
        permuted.begin(obs[order], where=~stepped[order])


def test_frozen_statistics_make_one_alone_score_as_among_64(member):
    num_envs = 64
    space, acts_space = OBSERVATIONS["vector"], ACTIONS["discrete"]
    among = member(space, acts_space, num_envs, seed=0)
    stream = Stream(space, acts_space)
    obs = stream.obs(num_envs)
    among.begin(obs)
    for _ in range(5):
        previous, acts, obs = obs, stream.actions(num_envs), stream.obs(num_envs)
        among.score(previous, acts, obs)
    alone = member(space, acts_space, num_envs, seed=0)
    alone.load_state_dict(among.state_dict())
    among.eval()
    alone.eval()
    obs = stream.obs(num_envs)
    among.begin(obs)
    alone.begin(obs)
    only = np.arange(num_envs) == 17
    for _ in range(5):
        previous, acts, obs = obs, stream.actions(num_envs), stream.obs(num_envs)
        expected = among.score(previous, acts, obs)
        got = alone.score(previous, acts, obs, where=only)
        np.testing.assert_allclose(got[17], expected[17], rtol=1e-4)
        np.testing.assert_array_equal(got[~only], 0.0)


def test_what_was_learned_scores_the_same_in_any_number_of_environments(member):
    stream = Stream(OBSERVATIONS["vector"], ACTIONS["discrete"])
    trained, many, alone = vectors(member, seed=0), vectors(member, seed=1), vectors(member, 1)
    play(trained, stream, 8)
    trained.update(stream.obs(7), stream.actions(7), stream.obs(7), publish=False)
    obs = stream.obs()
    for bonus, rows in ((many, E), (alone, 1)):
        bonus.load_learned(trained.state_dict())
        bonus.eval()
        bonus.begin(obs[:rows])
    for _ in range(6):
        previous, acts, obs = obs, stream.actions(), stream.obs()
        expected = many.score(previous, acts, obs)
        got = alone.score(previous[:1], acts[:1], obs[:1])
        np.testing.assert_allclose(got, expected[:1], rtol=1e-4)


def test_where_false_leaves_everything_as_it_is(member):
    bonus = vectors(member)
    stream = Stream(OBSERVATIONS["vector"], ACTIONS["discrete"])
    play(bonus, stream, 3)
    before = copy.deepcopy(bonus.state_dict())
    nowhere = np.zeros(E, bool)
    reward = bonus.score(stream.obs(), stream.actions(), stream.obs(), where=nowhere)
    np.testing.assert_array_equal(reward, 0.0)
    bonus.begin(stream.obs(), where=nowhere)
    assert_same_state(before, bonus.state_dict())


@pytest.mark.parametrize("publish_first", [False, True])
def test_save_and_load_in_mid_episode_continues_to_the_same_floats(member, publish_first):
    stream = Stream(OBSERVATIONS["vector"], ACTIONS["discrete"])
    bonus = vectors(member, seed=0)
    play(bonus, stream, 8)
    bonus.update(stream.obs(7), stream.actions(7), stream.obs(7), publish=publish_first)
    other = vectors(member, seed=99)
    other.load_state_dict(copy.deepcopy(bonus.state_dict()))
    assert_same_state(bonus.state_dict(), other.state_dict())
    streams = [stream, copy.deepcopy(stream)]
    obs = [s.obs() for s in streams]
    for step in range(12):
        rewards = []
        for i, (b, s) in enumerate(zip((bonus, other), streams, strict=True)):
            previous, obs[i] = obs[i], s.obs()
            rewards.append(b.score(previous, s.actions(), obs[i]))
            b.begin(obs[i], where=np.arange(E) == step % E)
            metrics = b.update(previous, s.actions(), obs[i])
            rewards.append(np.array(list(metrics.values())))
        np.testing.assert_array_equal(rewards[0], rewards[2])
        np.testing.assert_array_equal(rewards[1], rewards[3])
    assert_same_state(bonus.state_dict(), other.state_dict())


def test_state_is_a_plain_tree(member):
    bonus = vectors(member)
    play(bonus, Stream(OBSERVATIONS["vector"], ACTIONS["discrete"]), 4)
    plain = (torch.Tensor, np.ndarray, int, float, bool, str, type(None))
    for name, leaf in flat(bonus.state_dict()).items():
        assert isinstance(leaf, plain), name


def test_another_number_of_environments_is_refused(member):
    with pytest.raises((ValueError, RuntimeError), match="num_envs"):
        vectors(member, 3).load_state_dict(vectors(member, 4).state_dict())


def test_eval_freezes_the_statistics(member):
    bonus = vectors(member)
    stream = Stream(OBSERVATIONS["vector"], ACTIONS["discrete"])
    play(bonus, stream, 4)
    bonus.eval()
    before = learned(bonus)
    bonus.score(stream.obs(), stream.actions(), stream.obs())
    assert_same_state(before, learned(bonus))
    bonus.train()
    bonus.score(stream.obs(), stream.actions(), stream.obs())
    after = learned(bonus)
    moved = {name for name, value in before.items() if "count" in name and value != after[name]}
    assert bool(moved) == any(name.endswith("/count") for name in before)


def learned(bonus):
    """A copy of a bonus's state by path, but for what belongs to the environments' episodes."""
    state = flat(copy.deepcopy(bonus.state_dict()))
    of_episodes = ("/memories/", "/episodes")
    return {k: v for k, v in state.items() if not any(part in k for part in of_episodes)}


def test_training_beside_scoring_changes_no_score(member):
    space, acts_space = OBSERVATIONS["image"], ACTIONS["discrete"]
    alone, trained = (member(space, acts_space, E, seed=0) for _ in range(2))
    expected = play(alone, Stream(space, acts_space), 12, update=False)
    stream = Stream(space, acts_space, seed=1)
    batch = stream.obs(32), stream.actions(32), stream.obs(32)
    stop = threading.Event()
    updates = []

    def train():
        while not stop.is_set() or not updates:
            updates.append(trained.update(*batch, publish=False))

    thread = threading.Thread(target=train)
    thread.start()
    got = play(trained, Stream(space, acts_space), 12, update=False)
    stop.set()
    thread.join()
    np.testing.assert_array_equal(got, expected)
    assert updates


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("obs_tm1", lambda x: x[:, :3], ValueError, r"obs_tm1 must have shape \[6, 4\]"),
        ("obs_t", lambda x: x[:5], ValueError, r"obs_t must have shape \[6, 4\], got \[5, 4\]"),
        ("obs_t", lambda x: x.astype(np.float64), TypeError, "obs_t must be of dtype float32"),
        ("obs_t", lambda x: np.where(x > 0, np.nan, x).astype(x.dtype), ValueError, "got a NaN"),
        ("obs_t", lambda x: torch.zeros((E, 4), device="meta"), ValueError, "device cpu, got meta"),
        ("action_tm1", lambda x: x + 9, ValueError, "action_tm1 must be within 2 to 5"),
        ("action_tm1", lambda x: x * 1.0, TypeError, "action_tm1 must be integers, got float64"),
        ("where", lambda x: np.ones(E, int), TypeError, "where must be of dtype bool, got int64"),
        ("where", lambda x: np.ones(5, bool), ValueError, r"where must have shape \[6\], got \[5"),
    ],
)
def test_wrong_arguments_are_named_and_change_nothing(member, name, change, error, message):
    bonus = vectors(member)
    stream = Stream(OBSERVATIONS["vector"], ACTIONS["discrete"])
    play(bonus, stream, 3)
    before = copy.deepcopy(bonus.state_dict())
    arguments = {"obs_tm1": stream.obs(), "action_tm1": stream.actions(), "obs_t": stream.obs()}
    wrong = {**arguments, name: change(arguments.get(name))}
    with pytest.raises(error, match=message):
        bonus.score(**wrong)
    if name in ("obs_t", "where"):
        begin = {"obs": wrong["obs_t"], "where": wrong.get("where")}
        with pytest.raises(error, match=message.replace("obs_t", "obs")):
            bonus.begin(**begin)
    if name != "where" and len(wrong["obs_t"]) == E:
        # Any batch may be trained on: only widths and dtypes can be wrong there.
        with pytest.raises(error, match=message.replace(r"\[6, 4", r"\[B, 4")):
            bonus.update(**wrong)
    assert_same_state(before, bonus.state_dict())


def test_batches_of_different_sizes_are_refused(member):
    bonus = vectors(member)
    stream = Stream(OBSERVATIONS["vector"], ACTIONS["discrete"])
    with pytest.raises(ValueError, match=r"action_tm1 must have shape \[3\], got \[2\]"):
        bonus.update(stream.obs(3), stream.actions(2), stream.obs(3))
    empty = np.zeros((0, 4), np.float32)
    with pytest.raises(ValueError, match="at least one transition"):
        bonus.update(empty, np.zeros(0, np.int64), empty)


def test_scoring_before_an_episode_began_is_refused(member):
    bonus = vectors(member)
    stream = Stream(OBSERVATIONS["vector"], ACTIONS["discrete"])
    bonus.begin(stream.obs(), where=np.arange(E) < 4)
    with pytest.raises(RuntimeError, match=r"environments \[4, 5\]: call begin first"):
        bonus.score(stream.obs(), stream.actions(), stream.obs())


def test_nested_spaces_name_the_wrapper(member):
    nested = gym.spaces.Dict({"image": OBSERVATIONS["grid"]})
    with pytest.raises(TypeError, match=r"observation_space.*FlattenObservation.*ImgObsWrapper"):
        member(nested, ACTIONS["discrete"], E)
    with pytest.raises(TypeError, match=r"action_space.*gymnasium\.wrappers"):
        member(OBSERVATIONS["grid"], nested, E)


def test_moving_a_bonus_is_refused(member):
    with pytest.raises(RuntimeError, match="cannot be moved or cast"):
        vectors(member).double()
