import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ngu.stopwatch import Stopwatch
from ngu_agents.base import Agent, Step
from ngu_agents.loop import Loop


class Countdown(gymnasium.Env):
    """Observes the steps taken; ends after `length` steps with reward 1; truncates if told to."""

    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length: int, truncates: bool = False) -> None:
        self.length, self.truncates = length, truncates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        ends = self.steps == self.length
        observation = np.array([self.steps], np.float32)
        return observation, float(ends), ends and not self.truncates, ends and self.truncates, {}


class Recorder:
    """An agent that writes down what it is told."""

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()
        self.calls: list[str] = []
        self.steps: list[Step] = []
        self.began: np.ndarray | None = None

    @property
    def reward_int(self):
        return np.full(2, len(self.steps), np.float32)

    def begin(self, observation):
        self.calls.append("begin")
        self.began = observation

    def act(self):
        self.calls.append("act")
        return np.zeros(2, np.int64)

    def observe(self, step):
        self.calls.append("observe")
        self.steps.append(step)
        return {"seen": float(len(self.steps))}

    def learn(self):
        self.calls.append("learn")
        return {"loss": 0.5} if len(self.steps) == 2 else {}

    def status(self):
        return {}

    def save(self, folder):
        return {}

    def load(self, folder, state):
        return True

    def files(self, state):
        return set()

    def close(self):
        pass


def make_loop(mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> tuple[Loop, Recorder]:
    envs = SyncVectorEnv(
        [lambda: Countdown(2), lambda: Countdown(3, truncates=True)], autoreset_mode=mode
    )
    agent = Recorder()
    assert isinstance(agent, Agent)
    return Loop(agent, envs), agent


def take(loop: Loop, count: int) -> list:
    return [progress for _, progress in zip(range(count), loop, strict=False)]


def test_what_the_agent_is_told_and_when():
    loop, agent = make_loop()
    loop.begin()
    np.testing.assert_array_equal(agent.began, [[0], [0]])
    first, second, third = take(loop, 3)
    assert agent.calls[:7] == ["begin", "act", "observe", "learn", "act", "observe", "learn"]
    assert [p.figures for p in (first, second, third)] == [{"seen": n} for n in (1.0, 2.0, 3.0)]
    assert [p.reward_int.tolist() for p in (first, second, third)] == [[1, 1], [2, 2], [3, 3]]
    assert [p.learned for p in (first, second, third)] == [{}, {"loss": 0.5}, {}]
    # Environment 0 ends at its second step, and only resets in the third.
    np.testing.assert_array_equal(second.step.observation, [[2], [2]])
    np.testing.assert_array_equal(second.step.terminated, [True, False])
    np.testing.assert_array_equal(second.step.reward, [1, 0])
    assert second.step.reward.dtype == np.float32
    np.testing.assert_array_equal(third.step.observation, [[0], [3]])
    np.testing.assert_array_equal(third.step.truncated, [False, True])
    np.testing.assert_array_equal(third.step.done, [False, True])


def test_steps_that_only_reset_are_not_counted():
    loop, _ = make_loop()
    loop.begin()
    progresses = take(loop, 5)
    stepped = [progress.stepped.tolist() for progress in progresses]
    assert stepped == [[True, True], [True, True], [False, True], [True, False], [True, True]]
    assert [progress.steps for progress in progresses] == [2, 4, 5, 6, 8]
    assert loop.steps == 8


def test_it_goes_on_where_it_was_left():
    loop, agent = make_loop()
    loop.begin()
    take(loop, 2)
    state = loop.state_dict()
    other = Loop(agent, loop.envs)
    other.load_state_dict(state)
    (progress,) = take(other, 1)
    assert progress.stepped.tolist() == [False, True]
    assert other.steps == 5


def test_beginning_anew_forgets_where_episodes_ended():
    loop, agent = make_loop()
    loop.begin()
    take(loop, 2)
    loop.begin()
    np.testing.assert_array_equal(agent.began, [[0], [0]])
    (progress,) = take(loop, 1)
    assert progress.stepped.tolist() == [True, True]
    assert loop.steps == 6


def test_the_environments_time_is_measured():
    loop, _ = make_loop()
    loop.begin()
    take(loop, 1)
    assert loop.stopwatch.seconds.keys() == {"environment"}


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_environments_that_reset_otherwise_are_refused(mode):
    with pytest.raises(ValueError, match=r"NEXT_STEP, got AutoresetMode\."):
        make_loop(mode)
