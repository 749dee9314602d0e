"""Lambda-returns and the range of returns: by hand, and against a slow sum."""

import numpy as np
import pytest
import torch

from ngu_agents.imagined_returns import ReturnRange, lambda_returns

HORIZON, COUNT = 6, 5


def some(seed=0, horizon=HORIZON):
    draws = torch.Generator().manual_seed(seed)
    reward = torch.randn(horizon, COUNT, generator=draws)
    discount = torch.rand(horizon, COUNT, generator=draws)
    value = torch.randn(horizon + 1, COUNT, generator=draws)
    return reward, discount, value


def n_step_returns(reward, discount, value):
    """Rewards of n steps, then the value, [H + 1, H, N]; float64, for n = 0 (the value) to H.

    Past the end there are no more steps.
    """
    reward, discount, value = (part.double().numpy() for part in (reward, discount, value))
    horizon, count = reward.shape
    returns = np.zeros((horizon + 1, horizon, count))
    for n in range(horizon + 1):
        for t in range(horizon):
            factor = np.ones(count)
            end = min(t + n, horizon)
            for k in range(t, end):
                returns[n, t] += factor * reward[k]
                factor = factor * discount[k]
            returns[n, t] += factor * value[end]
    return returns


def test_two_steps_by_hand():
    reward = torch.tensor([[1.0], [2.0]])
    discount = torch.tensor([[0.5], [0.25]])
    value = torch.tensor([[100.0], [8.0], [16.0]])
    # R_1 = 2 + .25 * 16 = 6; R_0 = 1 + .5 (.75 * 8 + .25 * 6) = 4.75; v_0 is not looked at.
    expected = torch.tensor([[4.75], [6.0]])
    torch.testing.assert_close(lambda_returns(reward, discount, value, 0.25), expected)


@pytest.mark.parametrize("trace_decay", [0.0, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("horizon", [1, HORIZON])
def test_they_are_the_weighed_mean_of_all_n_step_returns(trace_decay, horizon):
    reward, discount, value = some(horizon=horizon)
    returns = n_step_returns(reward, discount, value)
    expected = np.zeros((horizon, COUNT))
    for t in range(horizon):
        left = horizon - t
        for n in range(1, left):
            expected[t] += (1 - trace_decay) * trace_decay ** (n - 1) * returns[n, t]
        expected[t] += trace_decay ** (left - 1) * returns[left, t]
    got = lambda_returns(reward, discount, value, trace_decay)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_limits_of_lambda():
    reward, discount, value = some()
    one_step = reward + discount * value[1:]
    torch.testing.assert_close(lambda_returns(reward, discount, value, 0.0), one_step)
    whole = n_step_returns(reward, discount, value)[HORIZON]
    np.testing.assert_allclose(lambda_returns(reward, discount, value, 1.0), whole, rtol=1e-5)


def test_where_the_episode_ends_nothing_after_it_counts():
    reward, discount, value = some()
    discount[2, 1] = 0.0
    expected = lambda_returns(reward, discount, value, 0.9)
    torch.testing.assert_close(expected[2, 1], reward[2, 1])
    reward[3:, 1] = torch.nan_to_num(reward[3:, 1]) + 7.0
    value[3:, 1] -= 5.0
    changed = lambda_returns(reward, discount, value, 0.9)
    assert torch.equal(changed[:3], expected[:3])
    torch.testing.assert_close(
        lambda_returns(reward, torch.zeros_like(discount), value, 0.9), reward
    )


def test_trajectories_do_not_meet():
    reward, discount, value = some()
    whole = lambda_returns(reward, discount, value, 0.9)
    for i in range(COUNT):
        part = slice(i, i + 1)
        alone = lambda_returns(reward[:, part], discount[:, part], value[:, part], 0.9)
        torch.testing.assert_close(alone, whole[:, part])


def test_the_range_by_hand():
    range_ = ReturnRange(floor=1.0, decay=0.9)
    assert range_.scale == 1.0
    range_.update(torch.arange(101.0).reshape(1, 101).flip(1))
    assert range_.scale == pytest.approx(90.0)  # from the 5th to the 95th percentile
    range_.update(torch.arange(101.0) / 10)
    assert range_.scale == pytest.approx(0.9 * 90 + 0.1 * 9)
    range_.update(torch.full((2, 3), 5.0))
    assert range_.scale == pytest.approx(0.9 * (0.9 * 90 + 0.1 * 9))


def test_the_range_has_a_floor_that_does_not_enter_the_average():
    low, bare = ReturnRange(floor=1.0, decay=0.5), ReturnRange(floor=1e-8, decay=0.5)
    for range_ in (low, bare):
        range_.update(torch.tensor([0.0, 0.0, 0.2, 0.2]))
    assert low.scale == 1.0
    assert bare.scale == pytest.approx(0.2)
    for range_ in (low, bare):
        range_.update(torch.tensor([0.0, 0.0, 4.0, 4.0]))
        assert range_.scale == pytest.approx(0.5 * 0.2 + 0.5 * 4)
    bare = ReturnRange(floor=1e-8)
    bare.update(torch.zeros(4))
    assert bare.scale == 1e-8


def test_a_loaded_range_goes_on():
    range_, other = ReturnRange(floor=0.1), ReturnRange(floor=0.1)
    other.load_state_dict(range_.state_dict())
    for seed in range(3):
        returns = some(seed)[0]
        range_.update(returns)
        other.update(returns)
        assert other.scale == range_.scale > 0.1
        other = ReturnRange(floor=0.1)
        other.load_state_dict(range_.state_dict())
