"""Advantages and the clipped surrogate by hand and against a slow reference, and what PPO makes of
them."""

import numpy as np
import pytest
import torch

from ngu_agents.losses import clipped_surrogate, discounted_sums, generalised_advantages
from ngu_agents.ppo_config import PPOConfig
from ngu_agents.ppo_samples import ReturnScale, explained_variance, make_samples
from ngu_agents.rollout import Rollout

NONE = torch.zeros(3, 1, dtype=torch.bool)


def column(*numbers):
    return torch.tensor([numbers]).T


def advantages(reward, value, terminated=NONE, truncated=NONE, valid=~NONE):
    return generalised_advantages(
        reward_tp1=column(*reward),
        value_t=column(*value),
        terminated_tp1=terminated,
        truncated_tp1=truncated,
        valid_t=valid,
        discount=0.5,
        trace_decay=0.5,
    ).flatten()


def test_advantages_by_hand():
    # delta = 1 + .5 * 6 - 4 = 0, 2 + .5 * 8 - 6 = 0, 4 + .5 * 2 - 8 = -3; gamma lambda = .25.
    got = advantages([1.0, 2.0, 4.0], [4.0, 6.0, 8.0, 2.0])
    torch.testing.assert_close(got, torch.tensor([-0.1875, -0.75, -3.0]))


def test_an_end_stops_the_trace_and_only_termination_the_value():
    # Step 0 ends an episode, step 1 resets, step 2 begins the next.
    end, valid = column(True, False, False), column(True, False, True)
    numbers = [1.0, 7.0, 4.0], [4.0, 6.0, 8.0, 2.0]
    # 1 - 4; and 1 + .5 * 6 - 4, with 6 the value of the true final observation.
    got = advantages(*numbers, terminated=end, valid=valid)
    torch.testing.assert_close(got, torch.tensor([-3.0, 0.0, -3.0]))
    got = advantages(*numbers, truncated=end, valid=valid)
    torch.testing.assert_close(got, torch.tensor([0.0, 0.0, -3.0]))


def test_a_return_that_is_not_episodic_goes_on_with_the_next_episode():
    # Step 1 only resets: step 0 is followed by the first state of the next episode, worth 8.
    # 1 + .5 * 8 - 4 + .25 * -3.
    got = advantages([1.0, 7.0, 4.0], [4.0, 6.0, 8.0, 2.0], valid=column(True, False, True))
    torch.testing.assert_close(got, torch.tensor([0.25, 0.0, -3.0]))


def random_episodes(seed, steps=40, batch=9):
    generator = np.random.default_rng(seed)
    reward = generator.normal(size=(steps, batch))
    value = generator.normal(size=(steps + 1, batch))
    terminated, truncated = np.zeros((2, steps, batch), bool)
    valid = np.ones((steps, batch), bool)
    valid[0] = generator.random(batch) < 0.5
    for t in range(steps):
        for b in range(batch):
            if t and (terminated[t - 1, b] or truncated[t - 1, b]):
                valid[t, b] = False
            elif valid[t, b] and generator.random() < 0.25:
                (terminated if generator.random() < 0.5 else truncated)[t, b] = True
    assert terminated.any()
    assert truncated.any()
    assert (terminated | truncated)[-1].any()
    return reward, value, terminated, truncated, valid


def reference(episodes, discount, trace_decay, *, episodic):
    """The sum over later errors, in plain floats: no recursion, no masks."""
    reward, value, terminated, truncated, valid = episodes
    steps, batch = reward.shape
    result = np.zeros((steps, batch))
    for b in range(batch):
        times = [t for t in range(steps) if valid[t, b]]
        for i, t in enumerate(times):
            total, weight = 0.0, 1.0
            for j, s in enumerate(times[i:], start=i):
                following = times[j + 1] if j + 1 < len(times) else steps
                if not episodic:
                    next_value = value[following, b]
                elif terminated[s, b]:
                    next_value = 0.0
                else:
                    next_value = value[s + 1, b]
                total += weight * (reward[s, b] + discount * next_value - value[s, b])
                weight *= discount * trace_decay
                if episodic and (terminated[s, b] or truncated[s, b]):
                    break
            result[t, b] = total
    return result


@pytest.mark.parametrize("episodic", [True, False])
@pytest.mark.parametrize("trace_decay", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_advantages_against_the_reference(seed, trace_decay, episodic):
    episodes = random_episodes(seed)
    expected = reference(episodes, 0.9, trace_decay, episodic=episodic)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        reward, value = (torch.from_numpy(x).to(dtype) for x in episodes[:2])
        terminated, truncated, valid = map(torch.from_numpy, episodes[2:])
        if not episodic:
            terminated = truncated = torch.zeros_like(valid)
        got = generalised_advantages(
            reward_tp1=reward,
            value_t=value,
            terminated_tp1=terminated,
            truncated_tp1=truncated,
            valid_t=valid,
            discount=0.9,
            trace_decay=trace_decay,
        )
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_wrong_discounts_are_named():
    arguments = {"discount": 0.5, "trace_decay": 0.5}
    for name in arguments:
        with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\], got 1.5"):
            generalised_advantages(
                reward_tp1=torch.zeros(3, 1),
                value_t=torch.zeros(4, 1),
                terminated_tp1=NONE,
                truncated_tp1=NONE,
                valid_t=NONE,
                **(arguments | {name: 1.5}),
            )


def test_discounted_sums_run_along_time_and_stand_still_in_a_reset():
    reward = torch.tensor([[1.0, 1.0], [5.0, 1.0], [2.0, 1.0]])
    valid = torch.tensor([[True, True], [False, True], [True, True]])
    got = discounted_sums(reward, valid, torch.tensor([4.0, 0.0]), 0.5)
    torch.testing.assert_close(got, torch.tensor([[3.0, 1.0], [3.0, 1.5], [3.5, 1.75]]))


def test_clipped_surrogate_by_hand():
    ratio = torch.tensor([1.0, 1.5, 0.5, 1.5, 0.5, 1.05])
    advantage = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0, 1.0])
    log_ratio = ratio.log().requires_grad_()
    got = clipped_surrogate(log_ratio, advantage, 0.1)
    # Better actions gain up to 1.1; worse ones lose what they weigh and gain down to 0.9.
    torch.testing.assert_close(got, torch.tensor([2.0, 2.2, 1.0, -3.0, -1.8, 1.05]))
    got.sum().backward()
    torch.testing.assert_close(log_ratio.grad, torch.tensor([2.0, 0.0, 1.0, -3.0, 0.0, 1.05]))
    with pytest.raises(ValueError, match="clip must be at least 0, got -1"):
        clipped_surrogate(log_ratio, advantage, -1.0)


def test_the_scale_is_the_deviation_of_each_environments_returns_along_time():
    scale = ReturnScale(2, 0.5)
    valid = np.ones((2, 2), bool)
    reward = np.array([[1.0, 4.0], [2.0, 0.0]], np.float32)
    # Returns 1, 2.5 and 4, 2: mean 2.375, squares 1.890625 + .015625 + 2.640625 + .140625.
    deviation = np.sqrt(4.6875 / 4)
    np.testing.assert_allclose(scale(reward, valid), reward / deviation, rtol=1e-6)
    # The returns go on: 2.25 and 1; a step that only reset counts nowhere.
    later = scale(np.array([[1.0, 9.0]], np.float32), np.array([[True, False]]))
    deviation = np.std([1.0, 2.5, 4.0, 2.0, 2.25])
    np.testing.assert_allclose(later[0, 0], 1 / deviation, rtol=1e-6)
    assert scale.deviation == pytest.approx(deviation)


def make_rollout() -> Rollout:
    rollout = Rollout(
        4,
        1,
        observation_shape=(1,),
        observation_dtype=np.dtype(np.float32),
        action_size=1,
        action_dtype=np.dtype(np.int64),
        recurrent_size=0,
    )
    rollout.begin(np.zeros((1, 1), np.float32), np.zeros((2, 1, 0), np.float32))
    for t, (reward, valid) in enumerate([(1.0, True), (50.0, True), (9.0, False), (0.0, True)]):
        rollout.add(
            observation=np.full((1, 1), t + 1.0, np.float32),
            first=np.array([t == 3]),
            action=np.array([[t]]),
            log_probability=np.array([-1.0]),
            value=np.array([[0.25, 2.0]]),
            reward_ext=np.array([reward]),
            reward_int=np.array([1.0]),
            terminated=np.array([t == 1]),
            truncated=np.array([False]),
            valid=np.array([valid]),
        )
    rollout.value[-1] = [[0.25, 2.0]]
    return rollout


def test_two_returns_with_their_own_discounts_and_ends_are_weighed_and_added():
    config = PPOConfig(
        gamma_ext=0.8,
        gamma_int=0.5,
        trace_decay=0.0,
        extrinsic_weight=3.0,
        intrinsic_weight=0.5,
        reward_bound=10.0,
    )
    rollout = make_rollout()
    samples, figures = make_samples(rollout, np.full((4, 1), 2.0, np.float32), config)
    # Extrinsic, the reward of 50 clipped and the end without value after it:
    extrinsic = np.array([1 + 0.8 * 0.25 - 0.25, 10 - 0.25, 0.8 * 0.25 - 0.25])
    # Intrinsic, through the end: 2 + .5 * 2 - 2 at each step.
    intrinsic = np.array([1.0, 1.0, 1.0])
    together = 3 * extrinsic + 0.5 * intrinsic
    expected = (together - together.mean()) / together.std()
    taken = rollout.valid[:, 0]
    np.testing.assert_allclose(samples.advantage.numpy()[taken], expected, rtol=1e-5)
    targets = np.stack([extrinsic + 0.25, intrinsic + 2.0], axis=-1)
    np.testing.assert_allclose(samples.value_target.numpy()[taken], targets, rtol=1e-6)
    assert figures.keys() == {"explained_variance_extrinsic", "explained_variance_intrinsic"}
    without, figures = make_samples(rollout, None, config)
    expected = (extrinsic - extrinsic.mean()) / extrinsic.std()
    np.testing.assert_allclose(without.advantage.numpy()[taken], expected, rtol=1e-5)
    assert figures.keys() == {"explained_variance_extrinsic"}


def test_explained_variance_by_hand():
    target = torch.tensor([1.0, 3.0, 5.0])
    assert explained_variance(target, torch.zeros(3)) == 1.0
    assert explained_variance(target, target - 2.0) == pytest.approx(0.0)
    assert explained_variance(target, 2 * target) == pytest.approx(-3.0)
    assert explained_variance(torch.ones(3), target) == 0.0
