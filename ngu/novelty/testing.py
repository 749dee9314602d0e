"""Checks of the contract of an intrinsic reward, for the library's bonuses and for anybody's own.

    import pytest
    from ngu.novelty.testing import CHECKS

    @pytest.mark.parametrize("check", CHECKS)
    def test_my_bonus(check):
        check(MyBonus)

What is checked is called with an observation space, an action space, a number of environments and
``seed=``, and returns a bonus that holds at most 1,000 states of an environment. A check that fails
raises an AssertionError.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ngu.novelty.base import IntrinsicReward

Make = Callable[..., IntrinsicReward]

NUM_ENVS = 6
OBSERVATION_SPACES: dict[str, gym.Space[Any]] = {
    "image": gym.spaces.Box(0, 255, (1, 36, 36), np.uint8),
    "image, channels last": gym.spaces.Box(0, 255, (36, 40, 3), np.uint8),
    "grid": gym.spaces.Box(0, 10, (7, 7, 3), np.uint8),
    "vector": gym.spaces.Box(-2, 2, (4,), np.float32),
    "discrete": gym.spaces.Discrete(5, start=1),
}
ACTION_SPACES: dict[str, gym.Space[Any]] = {
    "Discrete": gym.spaces.Discrete(4, start=2),
    "MultiDiscrete": gym.spaces.MultiDiscrete([2, 3]),
    "Box": gym.spaces.Box(-1, 1, (2,), np.float32),
}
VECTOR, DISCRETE = OBSERVATION_SPACES["vector"], ACTION_SPACES["Discrete"]
_OF_EPISODES = ("/memories/", "/episodes")


class Stream:
    """Random observations and actions of two spaces, as vector environments give them."""

    def __init__(
        self,
        observation_space: gym.Space[Any] = VECTOR,
        action_space: gym.Space[Any] = DISCRETE,
        seed: int = 0,
    ) -> None:
        self._spaces = copy.deepcopy((observation_space, action_space))
        for space in self._spaces:
            space.seed(seed)

    def obs(self, batch: int = NUM_ENVS) -> np.ndarray:
        """Observations [batch, *shape]."""
        return np.stack([np.asarray(self._spaces[0].sample()) for _ in range(batch)])

    def actions(self, batch: int = NUM_ENVS) -> np.ndarray:
        """Actions [batch, *parts]."""
        return np.stack([np.asarray(self._spaces[1].sample()) for _ in range(batch)])


def play(bonus: IntrinsicReward, stream: Stream, steps: int, *, update: bool = True) -> np.ndarray:
    """Rewards [steps, E] of a run in which environments end at different steps."""
    rewards = []
    obs = stream.obs()
    bonus.begin(obs)
    for step in range(steps):
        previous, actions, obs = obs, stream.actions(), stream.obs()
        stepped = np.arange(NUM_ENVS) != step % (2 * NUM_ENVS)
        rewards.append(bonus.score(previous, actions, obs, where=stepped))
        bonus.begin(obs, where=~stepped)
        if update and step % 3 == 2:
            bonus.update(stream.obs(7), stream.actions(7), stream.obs(7))
    return np.stack(rewards)


def flat(tree: Any, name: str = "") -> dict[str, Any]:
    """Leaves of a nested state by their paths."""
    if isinstance(tree, dict):
        return {k: v for key, item in tree.items() for k, v in flat(item, f"{name}/{key}").items()}
    if isinstance(tree, list | tuple):
        return flat(dict(enumerate(tree)), name)
    return {name: tree}


def state_of(bonus: IntrinsicReward) -> dict[str, Any]:
    """A copy of a bonus's state, by paths."""
    return flat(copy.deepcopy(bonus.state_dict()))


def _expect(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(np.all(a == b))


def _expect_same_state(before: dict[str, Any], after: dict[str, Any], when: str) -> None:
    _expect(before.keys() == after.keys(), f"the state's names changed {when}")
    changed = [name for name, value in before.items() if not _same(value, after[name])]
    _expect(not changed, f"the state changed {when}: {changed}")


def _expect_error(
    kinds: type[Exception] | tuple[type[Exception], ...], names: str, call: Callable[[], Any]
) -> None:
    try:
        call()
    except kinds as error:
        _expect(names in str(error), f"the error must name {names!r}, got: {error}")
    else:
        raise AssertionError(f"expected an error that names {names!r}, got none")


def check_spaces(make: Make) -> None:
    """Every kind of observation and action is scored and trained on; rewards are finite."""
    off = np.eye(4, NUM_ENVS, dtype=bool)
    for observation_space in OBSERVATION_SPACES.values():
        for action_space in ACTION_SPACES.values():
            bonus = make(observation_space, action_space, NUM_ENVS, seed=0)
            stream = Stream(observation_space, action_space)
            rewards = play(bonus, stream, 4)
            _expect(rewards.dtype == np.float32, f"rewards must be float32, got {rewards.dtype}")
            _expect(rewards.shape == (4, NUM_ENVS), f"rewards must be [E], got {rewards.shape[1:]}")
            _expect(np.isfinite(rewards).all(), "rewards must be finite")
            _expect((rewards[off] == 0).all(), "where no step was taken nothing is paid")
            _expect((rewards >= 0).all(), "a bonus is not negative")
            _expect(len(np.unique(rewards[~off])) > 2, "different states must be paid differently")
            metrics = bonus.update(stream.obs(5), stream.actions(5), stream.obs(5), publish=False)
            finite = all(isinstance(v, float) and np.isfinite(v) for v in metrics.values())
            _expect(finite, f"metrics must be finite numbers, got {metrics}")


def check_seed(make: Make) -> None:
    """The same seed gives the same floats and another one does not."""
    first, second, other = (
        play(make(VECTOR, DISCRETE, NUM_ENVS, seed=seed), Stream(), 12) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    _expect(not np.array_equal(first, other), "another seed must give other rewards")


def check_global_random_state(make: Make) -> None:
    """Neither torch's nor numpy's global generator is drawn from."""
    before, legacy = torch.get_rng_state(), _numpy_state()
    play(make(VECTOR, DISCRETE, NUM_ENVS, seed=0), Stream(), 6)
    _expect(torch.equal(torch.get_rng_state(), before), "torch's global state was touched")
    _expect(_numpy_state() == legacy, "numpy's global state was touched")


def _numpy_state() -> str:
    return repr(np.random.get_state(legacy=False))  # noqa: NPY002  # the global state is checked


def check_tensors(make: Make) -> None:
    """Tensors give the numbers that arrays give, as tensors without gradients."""
    for space in OBSERVATION_SPACES.values():
        stream = Stream(space)
        arrays, tensors = (make(space, DISCRETE, NUM_ENVS, seed=0) for _ in range(2))
        before, actions, after = stream.obs(), stream.actions(), stream.obs()
        arrays.begin(before)
        tensors.begin(torch.from_numpy(before))
        expected = arrays.score(before, actions, after)
        got = tensors.score(*map(torch.from_numpy, (before, actions, after)))
        _expect(isinstance(got, torch.Tensor), f"expected a tensor, got {type(got).__name__}")
        _expect(not got.requires_grad, "rewards must not require gradients")
        np.testing.assert_array_equal(got.numpy(), expected)
        for name, part in arrays.parts.items():
            _expect(isinstance(part, np.ndarray), f"parts[{name!r}] must be an array")
            np.testing.assert_array_equal(tensors.parts[name].numpy(), part)


def check_permutation(make: Make) -> None:
    """Permuting the environments permutes the rewards."""
    order = np.random.default_rng(0).permutation(NUM_ENVS)
    for space in OBSERVATION_SPACES.values():
        straight, permuted = (make(space, DISCRETE, NUM_ENVS, seed=0) for _ in range(2))
        stream = Stream(space)
        obs = stream.obs()
        straight.begin(obs)
        permuted.begin(obs[order])
        for step in range(8):
            previous, actions, obs = obs, stream.actions(), stream.obs()
            stepped = np.arange(NUM_ENVS) != step
            expected = straight.score(previous, actions, obs, where=stepped)
            got = permuted.score(previous[order], actions[order], obs[order], where=stepped[order])
            np.testing.assert_allclose(got, expected[order], rtol=1e-4, atol=1e-6)
            straight.begin(obs, where=~stepped)
            permuted.begin(obs[order], where=~stepped[order])


def check_alone_as_among_many(make: Make) -> None:
    """With the statistics frozen, an environment alone is paid what it is paid among 64."""
    num_envs = 64
    among, alone = (make(VECTOR, DISCRETE, num_envs, seed=0) for _ in range(2))
    stream = Stream()
    obs = stream.obs(num_envs)
    among.begin(obs)
    for _ in range(5):
        previous, actions, obs = obs, stream.actions(num_envs), stream.obs(num_envs)
        among.score(previous, actions, obs)
    alone.load_state_dict(among.state_dict())
    obs = stream.obs(num_envs)
    for bonus in (among, alone):
        bonus.eval()
        bonus.begin(obs)
    only = np.arange(num_envs) == 17
    for _ in range(5):
        previous, actions, obs = obs, stream.actions(num_envs), stream.obs(num_envs)
        expected = among.score(previous, actions, obs)
        got = alone.score(previous, actions, obs, where=only)
        np.testing.assert_allclose(got[17], expected[17], rtol=1e-4)
        _expect((got[~only] == 0).all(), "where no step was taken nothing is paid")


def check_learned_goes_elsewhere(make: Make) -> None:
    """What was learned scores the same in any number of environments."""
    stream = Stream()
    trained, many = (make(VECTOR, DISCRETE, NUM_ENVS, seed=seed) for seed in (0, 1))
    alone = make(VECTOR, DISCRETE, 1, seed=2)
    play(trained, stream, 8)
    trained.update(stream.obs(7), stream.actions(7), stream.obs(7), publish=False)
    obs = stream.obs()
    for bonus, rows in ((many, NUM_ENVS), (alone, 1)):
        bonus.load_learned(trained.state_dict())
        bonus.eval()
        bonus.begin(obs[:rows])
    for _ in range(6):
        previous, actions, obs = obs, stream.actions(), stream.obs()
        expected = many.score(previous, actions, obs)
        got = alone.score(previous[:1], actions[:1], obs[:1])
        np.testing.assert_allclose(got, expected[:1], rtol=1e-4)


def check_nowhere_changes_nothing(make: Make) -> None:
    """A step that no environment took leaves everything as it is."""
    bonus, stream = make(VECTOR, DISCRETE, NUM_ENVS, seed=0), Stream()
    play(bonus, stream, 3)
    before = state_of(bonus)
    nowhere = np.zeros(NUM_ENVS, bool)
    reward = bonus.score(stream.obs(), stream.actions(), stream.obs(), where=nowhere)
    _expect((reward == 0).all(), "where no step was taken nothing is paid")
    bonus.begin(stream.obs(), where=nowhere)
    _expect_same_state(before, state_of(bonus), "where no step was taken")


def check_resume(make: Make) -> None:
    """A bonus saved and loaded in mid-episode goes on with the same floats, training included."""
    for publish in (False, True):
        stream = Stream()
        bonus, other = (make(VECTOR, DISCRETE, NUM_ENVS, seed=seed) for seed in (0, 99))
        play(bonus, stream, 8)
        bonus.update(stream.obs(7), stream.actions(7), stream.obs(7), publish=publish)
        other.load_state_dict(copy.deepcopy(bonus.state_dict()))
        _expect_same_state(state_of(bonus), state_of(other), "by loading")
        streams = [stream, copy.deepcopy(stream)]
        obs = [s.obs() for s in streams]
        for step in range(12):
            results: list[Any] = []
            for i, (b, s) in enumerate(zip((bonus, other), streams, strict=True)):
                previous, obs[i] = obs[i], s.obs()
                results.append(b.score(previous, s.actions(), obs[i]).tolist())
                b.begin(obs[i], where=np.arange(NUM_ENVS) == step % NUM_ENVS)
                results.append(b.update(previous, s.actions(), obs[i]))
            _expect(results[:2] == results[2:], f"a loaded bonus went another way: {results}")
        _expect_same_state(state_of(bonus), state_of(other), "after loading")


def check_state_is_plain(make: Make) -> None:
    """The state holds tensors, arrays, numbers and strings only, so that loading runs no code."""
    bonus = make(VECTOR, DISCRETE, NUM_ENVS, seed=0)
    play(bonus, Stream(), 4)
    plain = (torch.Tensor, np.ndarray, int, float, bool, str, type(None))
    others = {k: type(v).__name__ for k, v in state_of(bonus).items() if not isinstance(v, plain)}
    _expect(not others, f"the state holds {others}")


def check_unfit_state(make: Make) -> None:
    """The state of other environments is refused and changes nothing."""
    bonus = make(VECTOR, DISCRETE, NUM_ENVS, seed=0)
    play(bonus, Stream(), 4)
    before = state_of(bonus)
    more = make(VECTOR, DISCRETE, NUM_ENVS + 1, seed=1).state_dict()
    _expect_error((ValueError, RuntimeError), "num_envs", lambda: bonus.load_state_dict(more))
    _expect_same_state(before, state_of(bonus), "by the state of more environments")
    other = make(OBSERVATION_SPACES["image"], DISCRETE, NUM_ENVS, seed=1)
    shapes = [[tuple(p.shape) for p in each.parameters()] for each in (bonus, other)]
    if shapes[0] != shapes[1]:
        state = other.state_dict()
        _expect_error((ValueError, RuntimeError), "", lambda: bonus.load_state_dict(state))
        _expect_same_state(before, state_of(bonus), "by the state of other observations")


def check_eval_freezes(make: Make) -> None:
    """`eval` stops what is learned from scoring, `train` lets it move again."""

    def learned() -> dict[str, Any]:
        state = state_of(bonus)
        return {k: v for k, v in state.items() if not any(part in k for part in _OF_EPISODES)}

    bonus, stream = make(VECTOR, DISCRETE, NUM_ENVS, seed=0), Stream()
    play(bonus, stream, 4)
    bonus.eval()
    before = learned()
    bonus.score(stream.obs(), stream.actions(), stream.obs())
    _expect_same_state(before, learned(), "by scoring after eval()")
    bonus.train()
    bonus.score(stream.obs(), stream.actions(), stream.obs())
    after = learned()
    counts = [name for name in before if name.endswith("/count")]
    moved = [name for name in counts if before[name] != after[name]]
    _expect(bool(moved) == bool(counts), "statistics must move again after train()")


def check_training_beside_scoring(make: Make) -> None:
    """`update(publish=False)` in one thread changes no score in another."""
    space = OBSERVATION_SPACES["image"]
    alone, trained = (make(space, DISCRETE, NUM_ENVS, seed=0) for _ in range(2))
    expected = play(alone, Stream(space), 12, update=False)
    stream = Stream(space, seed=1)
    batch = stream.obs(32), stream.actions(32), stream.obs(32)
    stop = threading.Event()
    updates = []

    def train() -> None:
        while not stop.is_set() or not updates:
            updates.append(trained.update(*batch, publish=False))

    thread = threading.Thread(target=train)
    thread.start()
    try:
        got = play(trained, Stream(space), 12, update=False)
    finally:
        stop.set()
        thread.join()
    np.testing.assert_array_equal(got, expected)


def check_wrong_arguments(make: Make) -> None:
    """Each wrong argument raises an error that names it, and changes nothing."""
    bonus, stream = make(VECTOR, DISCRETE, NUM_ENVS, seed=0), Stream()
    play(bonus, stream, 3)
    before = state_of(bonus)
    right = {"obs_tm1": stream.obs(), "action_tm1": stream.actions(), "obs_t": stream.obs()}
    obs, actions = right["obs_t"], right["action_tm1"]
    wrong: list[tuple[str, Any, type[Exception]]] = [
        ("obs_tm1", obs[:, :3], ValueError),
        ("obs_t", obs[:5], ValueError),
        ("obs_t", obs.astype(np.float64), TypeError),
        ("obs_t", np.where(obs > 0, np.nan, obs).astype(np.float32), ValueError),
        ("obs_t", torch.zeros((NUM_ENVS, 4), device="meta"), ValueError),
        ("action_tm1", actions + 9, ValueError),
        ("action_tm1", actions * 1.0, TypeError),
        ("where", np.ones(NUM_ENVS, int), TypeError),
        ("where", np.ones(5, bool), ValueError),
    ]
    for name, value, error in wrong:
        arguments = {**right, name: value}
        _expect_error(error, name, lambda arguments=arguments: bonus.score(**arguments))
        if name == "obs_t":
            _expect_error(error, "obs", lambda value=value: bonus.begin(value))
        elif name == "where":
            _expect_error(error, name, lambda value=value: bonus.begin(obs, where=value))
        if name != "where" and len(value) == NUM_ENVS:
            _expect_error(error, name, lambda arguments=arguments: bonus.update(**arguments))
    _expect_error(
        ValueError,
        "action_tm1",
        lambda: bonus.update(stream.obs(3), stream.actions(2), stream.obs(3)),
    )
    none = stream.obs(1)[:0], stream.actions(1)[:0]
    _expect_error(ValueError, "at least one", lambda: bonus.update(none[0], none[1], none[0]))
    _expect_same_state(before, state_of(bonus), "by a wrong argument")


def check_episodes_must_begin(make: Make) -> None:
    """Scoring where no episode has begun is refused, and names the environments."""
    bonus, stream = make(VECTOR, DISCRETE, NUM_ENVS, seed=0), Stream()
    bonus.begin(stream.obs(), where=np.arange(NUM_ENVS) < 4)
    _expect_error(
        RuntimeError,
        "[4, 5]",
        lambda: bonus.score(stream.obs(), stream.actions(), stream.obs()),
    )


def check_nested_spaces(make: Make) -> None:
    """Dict spaces are refused with the name of the wrapper that flattens them."""
    nested = gym.spaces.Dict({"image": OBSERVATION_SPACES["grid"]})
    _expect_error(TypeError, "FlattenObservation", lambda: make(nested, DISCRETE, 2, seed=0))
    _expect_error(TypeError, "gymnasium.wrappers", lambda: make(VECTOR, nested, 2, seed=0))


def check_lifelong(make: Make) -> None:
    """A lifelong part, where there is one, is computed for any batch, and changes nothing."""
    bonus, stream = make(VECTOR, DISCRETE, NUM_ENVS, seed=0), Stream()
    play(bonus, stream, 3)
    obs_tm1, action_tm1, obs_t = stream.obs(9), stream.actions(9), stream.obs(9)
    if bonus.lifelong_of is None:
        _expect_error(NotImplementedError, "lifelong", lambda: bonus.lifelong(obs_t))
        return
    before = state_of(bonus)
    got = bonus.lifelong(obs_t, obs_tm1=obs_tm1, action_tm1=action_tm1)
    _expect(got.dtype == np.float32, f"the lifelong part must be float32, got {got.dtype}")
    _expect(got.shape == (9,), f"the lifelong part must be [B], got {got.shape}")
    _expect(np.isfinite(got).all(), "the lifelong part must be finite")
    obs_tm1, action_tm1, obs_t = map(torch.from_numpy, (obs_tm1, action_tm1, obs_t))
    tensor = bonus.lifelong(obs_t, obs_tm1=obs_tm1, action_tm1=action_tm1)
    np.testing.assert_array_equal(tensor.numpy(), got)
    _expect_error(ValueError, "obs_t", lambda: bonus.lifelong(obs_t[:, :3]))
    _expect_same_state(before, state_of(bonus), "by computing the lifelong part")


def check_moving_is_refused(make: Make) -> None:
    """A bonus is not moved or cast, which would leave its memories behind."""
    bonus = make(VECTOR, DISCRETE, NUM_ENVS, seed=0)
    _expect_error(RuntimeError, "cannot be moved or cast", bonus.double)


def check_memory_is_bounded(make: Make) -> None:
    """Over 100,000 steps of endless episodes the state stops growing."""
    num_envs, bonus, sizes = 64, None, []
    bonus, stream = make(VECTOR, DISCRETE, num_envs, seed=0), Stream()
    obs = stream.obs(num_envs)
    bonus.begin(obs)
    actions = stream.actions(num_envs)
    generator = np.random.default_rng(0)
    for step in range(1, 1601):
        previous = obs
        obs = generator.uniform(-2, 2, (num_envs, 4)).astype(np.float32)
        bonus.score(previous, actions, obs)
        if step in (1200, 1600):
            leaves = state_of(bonus).values()
            sizes.append(sum(leaf.nbytes for leaf in leaves if isinstance(leaf, torch.Tensor)))
    _expect(sizes[0] == sizes[1], f"the state grew from {sizes[0]} to {sizes[1]} bytes")


class Walk(gym.Env[np.ndarray, np.int64]):
    """An episode of a few known states, each its own; for `check_autoreset_modes`."""

    observation_space = gym.spaces.Box(-2, 2, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.episode = -1
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin the next episode."""
        self.episode, self.steps = self.episode + 1, 0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        """Take a step; episodes end after three to five, by turns for good and by a limit."""
        self.steps += 1
        ends = self.steps == 3 + self.episode % 3
        terminated = ends and self.episode % 2 == 0
        return self._observation(), 0.0, terminated, ends and not terminated, {}

    def _observation(self) -> np.ndarray:
        generator = np.random.default_rng((self.episode, self.steps))
        return generator.uniform(-2, 2, 4).astype(np.float32)


def rewards_of(bonus: IntrinsicReward, mode: AutoresetMode, transitions: int) -> list[float]:
    """Rewards of the first transitions of `Walk` under one of gymnasium's autoreset modes."""
    envs = SyncVectorEnv([Walk], autoreset_mode=mode)
    action = np.zeros(1, np.int64)
    obs, _ = envs.reset()
    bonus.begin(obs)
    rewards: list[float] = []
    done = np.zeros(1, bool)
    while len(rewards) < transitions:
        reached, _, terminated, truncated, info = envs.step(action)
        if mode == AutoresetMode.NEXT_STEP and done.any():
            bonus.begin(reached, where=done)
            done, obs = np.zeros(1, bool), reached
            continue
        done = terminated | truncated
        last = reached
        if mode == AutoresetMode.SAME_STEP and done.any():
            last = np.stack(list(info["final_obs"])).astype(np.float32)
        rewards.append(float(bonus.score(obs, action, last)[0]))
        if mode == AutoresetMode.SAME_STEP:
            bonus.begin(reached, where=done)
        elif mode == AutoresetMode.DISABLED and done.any():
            reached, _ = envs.reset(options={"reset_mask": done})
            bonus.begin(reached, where=done)
            done = np.zeros(1, bool)
        obs = reached
    envs.close()
    return rewards


def check_autoreset_modes(make: Make) -> None:
    """Under each of gymnasium's autoreset modes the same episodes are paid the same.

    So the last state of an episode is scored as the true one, and the first of the next is not.
    """
    found = {
        mode: rewards_of(make(Walk.observation_space, Walk.action_space, 1, seed=0), mode, 20)
        for mode in AutoresetMode
    }
    expected = found[AutoresetMode.DISABLED]
    for mode, rewards in found.items():
        _expect(rewards == expected, f"{mode} is paid {rewards}, without autoreset {expected}")


CHECKS: list[Callable[[Make], None]] = [
    value for name, value in list(globals().items()) if name.startswith("check_")
]
"""All checks, in the order in which they stand here."""
