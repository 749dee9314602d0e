"""Retrace and its companions against values worked out by hand and a slow reference."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngu_agents.losses import (
    IDENTITY,
    demonstration_loss,
    hyperbolic_transform,
    retrace_targets,
    sequence_loss,
    sequence_priorities,
    signed_hyperbolic,
    signed_parabolic,
    td_errors,
)

NAMES = ("action", "mu", "reward", "terminated", "truncated", "valid", "q_online", "q_target")


def targets_of(episode, discount, trace_decay, transform=IDENTITY):
    return retrace_targets(
        action_t=episode["action"],
        behaviour_probability_t=episode["mu"],
        reward_tp1=episode["reward"],
        terminated_tp1=episode["terminated"],
        truncated_tp1=episode["truncated"],
        valid_t=episode["valid"],
        q_online_t=episode["q_online"],
        q_target_t=episode["q_target"],
        discount=discount,
        trace_decay=trace_decay,
        transform=transform,
    )


def hand_sequence(terminated=(False, False, False), truncated=(False, False, False)):
    """One sequence of three steps and two actions; the target policy takes 1, 0, 1, 0."""
    return {
        "action": torch.tensor([[0], [0], [1]]),
        "mu": torch.tensor([[0.5], [0.8], [0.9]]),
        "reward": torch.tensor([[1.0], [2.0], [4.0]]),
        "terminated": torch.tensor([terminated]).T,
        "truncated": torch.tensor([truncated]).T,
        "valid": torch.ones(3, 1, dtype=torch.bool),
        "q_online": torch.tensor([[[0.0, 1.0]], [[5.0, 2.0]], [[1.0, 3.0]], [[2.0, 2.0]]]),
        "q_target": torch.tensor([[[10.0, 20.0]], [[3.0, 7.0]], [[6.0, 8.0]], [[12.0, 16.0]]]),
    }


def test_retrace_by_hand():
    # gamma .5, lambda .5. Greedy values (selected by q_online): V_1 = 3, V_2 = 8, V_3 = 12 (the
    # first of two equal ones). Steps 1 and 2 follow the target policy: c_1 = c_2 = .5.
    # G_2 = 4 + .5 * 12                         = 10
    # G_1 = 2 + .5 * (8 + .5 * (10 - 8))        = 6.5
    # G_0 = 1 + .5 * (3 + .5 * (6.5 - 3))       = 3.375
    targets = targets_of(hand_sequence(), torch.tensor([0.5]), 0.5)
    torch.testing.assert_close(targets, torch.tensor([[3.375], [6.5], [10.0]]))


def test_retrace_stops_where_the_action_was_not_greedy():
    # Step 1 now takes action 1, which is not greedy: c_1 = 0, so G_0 = 1 + .5 * 3 = 2.5. G_1 is
    # the same, since its trace is c_2.
    episode = hand_sequence()
    episode["action"][1] = 1
    targets = targets_of(episode, torch.tensor([0.5]), 0.5)
    torch.testing.assert_close(targets, torch.tensor([[2.5], [6.5], [10.0]]))


def test_termination_and_truncation_by_hand():
    # Step 1 terminates: G_1 = 2, G_0 = 1 + .5 * (3 + .5 * (2 - 3)) = 2.25.
    done = (False, True, False)
    targets = targets_of(hand_sequence(terminated=done), torch.tensor([0.5]), 0.5)
    torch.testing.assert_close(targets, torch.tensor([[2.25], [2.0], [10.0]]))
    # Step 1 is truncated: G_1 = 2 + .5 * 8 = 6, G_0 = 1 + .5 * (3 + .5 * (6 - 3)) = 3.25.
    targets = targets_of(hand_sequence(truncated=done), torch.tensor([0.5]), 0.5)
    torch.testing.assert_close(targets, torch.tensor([[3.25], [6.0], [10.0]]))


def test_reset_step_by_hand():
    # Step 0 terminates, step 1 only resets, step 2 belongs to the next episode.
    episode = hand_sequence(terminated=(True, False, False))
    episode["valid"][1] = False
    episode["mu"][1] = 0.0
    targets = targets_of(episode, torch.tensor([0.5]), 1.0)
    torch.testing.assert_close(targets, torch.tensor([[1.0], [0.0], [10.0]]))
    # Truncated instead, step 0 bootstraps: 1 + .5 * 3.
    episode = hand_sequence(truncated=(True, False, False))
    episode["valid"][1] = False
    targets = targets_of(episode, torch.tensor([0.5]), 1.0)
    torch.testing.assert_close(targets, torch.tensor([[2.5], [0.0], [10.0]]))


def test_transformed_retrace_by_hand():
    # h(x) = sign(x) (sqrt(|x| + 1) - 1), whose inverse is y (y + 2): values 1 stand for 3, and 2
    # for 8. One step with gamma .5: G = 4 + .5 * 8 = 8, and h(8) = 2.
    episode = {
        "action": torch.tensor([[0]]),
        "mu": torch.tensor([[1.0]]),
        "reward": torch.tensor([[4.0]]),
        "terminated": torch.tensor([[False]]),
        "truncated": torch.tensor([[False]]),
        "valid": torch.tensor([[True]]),
        "q_online": torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]),
        "q_target": torch.tensor([[[1.0, 0.0]], [[1.0, 2.0]]]),
    }
    transform = hyperbolic_transform(0.0)
    targets = targets_of(episode, torch.tensor([0.5]), 0.9, transform)
    torch.testing.assert_close(targets, torch.tensor([[2.0]]))


def random_episodes(seed, steps=23, batch=7, actions=4):
    """Sequences in which episodes end, by termination or truncation, and reset by a step."""
    generator = np.random.default_rng(seed)
    q_online = generator.normal(size=(steps + 1, batch, actions))
    q_target = q_online + 0.5 * generator.normal(size=q_online.shape)
    greedy = q_online[:-1].argmax(-1)
    action = np.where(
        generator.random((steps, batch)) < 0.7,
        greedy,
        generator.integers(0, actions, (steps, batch)),
    )
    terminated, truncated, valid = (np.zeros((steps, batch), bool) for _ in range(3))
    valid[:] = True
    reward = generator.normal(size=(steps, batch))
    for b in range(batch):
        for t in range(steps):
            if t and (terminated[t - 1, b] or truncated[t - 1, b]):
                valid[t, b], reward[t, b] = False, 0.0
            elif generator.random() < 0.2:
                ends = terminated if generator.random() < 0.5 else truncated
                ends[t, b] = True
    mu = generator.uniform(0.1, 1.0, (steps, batch))
    values = (action, mu, reward, terminated, truncated, valid, q_online, q_target)
    return dict(zip(NAMES, values, strict=True))


def reference_retrace(episode, discount, trace_decay, apply, invert):
    """Retrace as the sum over future errors, one step at a time, in plain Python floats."""
    steps, batch = episode["reward"].shape
    targets = np.zeros((steps, batch))
    for b in range(batch):
        for t in range(steps):
            if not episode["valid"][t, b]:
                continue
            total = invert(episode["q_target"][t, b, episode["action"][t, b]])
            weight = 1.0
            for s in range(t, steps):
                greedy = int(episode["q_online"][s, b].argmax())
                if s > t:
                    pi = 1.0 if episode["action"][s, b] == greedy else 0.0
                    weight *= discount[b] * trace_decay * min(1.0, pi / episode["mu"][s, b])
                following = int(episode["q_online"][s + 1, b].argmax())
                value = invert(episode["q_target"][s + 1, b, following])
                if episode["terminated"][s, b]:
                    value = 0.0
                taken = invert(episode["q_target"][s, b, episode["action"][s, b]])
                total += weight * (episode["reward"][s, b] + discount[b] * value - taken)
                if episode["terminated"][s, b] or episode["truncated"][s, b]:
                    break
            targets[t, b] = apply(total)
    return targets


def h(x, epsilon):
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + epsilon * x


def h_inverse(y, epsilon):
    """By bisection: knows nothing of the closed form."""
    low, high = -1e6, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if h(middle, epsilon) < y else (low, middle)
    return (low + high) / 2


def to_torch(episode, dtype):
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in episode.items()}
    return {n: v.to(dtype) if v.is_floating_point() else v for n, v in tensors.items()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("trace_decay", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("epsilon", [None, 1e-3])
def test_retrace_against_the_reference(seed, trace_decay, epsilon):
    episode = random_episodes(seed)
    assert episode["terminated"].any()
    assert episode["truncated"].any()
    discount = np.random.default_rng(seed + 100).uniform(0.8, 0.999, 7)
    if epsilon is None:
        transform, pair = IDENTITY, (lambda x: x, lambda y: y)
    else:
        transform = hyperbolic_transform(epsilon)
        pair = (lambda x: h(x, epsilon), lambda y: h_inverse(y, epsilon))
    expected = reference_retrace(episode, discount, trace_decay, *pair)
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 2e-5)):
        actual = targets_of(
            to_torch(episode, dtype), torch.tensor(discount, dtype=dtype), trace_decay, transform
        )
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_discounts_may_change_inside_a_sequence():
    # As by hand above, with gamma .5, .25, 1: G_2 = 16, G_1 = 2 + .25 * (8 + .5 * 8) = 5,
    # G_0 = 1 + .5 * (3 + .5 * 2) = 3.
    discount = torch.tensor([[0.5], [0.25], [1.0]])
    targets = targets_of(hand_sequence(), discount, 0.5)
    torch.testing.assert_close(targets, torch.tensor([[3.0], [5.0], [16.0]]))


def test_invalid_steps_reach_nothing():
    """Whatever stands in a reset step's reward, action, value or probability is without effect."""
    episode = to_torch(random_episodes(9), torch.float64)
    discount = torch.full((7,), 0.9, dtype=torch.float64)
    invalid = ~episode["valid"]
    before = targets_of(episode, discount, 0.95, hyperbolic_transform())
    episode["reward"][invalid] = 1e6
    episode["mu"][invalid] = 0.0
    episode["action"][invalid] = 3
    after = targets_of(episode, discount, 0.95, hyperbolic_transform())
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert (before[invalid] == 0).all()


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_no_trace_is_one_step_double_q(seed):
    episode = to_torch(random_episodes(seed, steps=6, batch=3), torch.float64)
    discount = torch.tensor([0.9, 0.99, 0.5], dtype=torch.float64)
    selected = episode["q_online"][1:].argmax(-1, keepdim=True)
    value = episode["q_target"][1:].gather(-1, selected).squeeze(-1)
    expected = episode["reward"] + discount * value * ~episode["terminated"]
    expected = expected * episode["valid"]
    torch.testing.assert_close(targets_of(episode, discount, 0.0), expected)


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_on_policy_with_full_trace_is_the_n_step_return(seed):
    episode = to_torch(random_episodes(seed, steps=6, batch=3), torch.float64)
    for name in ("terminated", "truncated"):
        episode[name][:] = False
    episode["valid"][:] = True
    episode["action"] = episode["q_online"][:-1].argmax(-1)
    gamma = 0.9
    targets = targets_of(episode, torch.full((3,), gamma, dtype=torch.float64), 1.0)
    last = episode["q_online"][-1].argmax(-1, keepdim=True)
    expected = episode["q_target"][-1].gather(-1, last).squeeze(-1)
    for t in reversed(range(6)):
        expected = episode["reward"][t] + gamma * expected
        torch.testing.assert_close(targets[t], expected)


@given(st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1e-3, 1e-2, 1.0]))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_transform_and_inverse_are_a_pair(x, epsilon):
    value = torch.tensor(x, dtype=torch.float32)
    back = signed_parabolic(signed_hyperbolic(value, epsilon), epsilon)
    # Below the smallest normal number, 1.2e-38, digits are lost.
    torch.testing.assert_close(back, value, rtol=2e-6, atol=1.2e-38)
    exact = h(x, epsilon)
    # The reference itself loses digits where |x| is small.
    torch.testing.assert_close(
        signed_hyperbolic(value.double(), epsilon).item(), exact, rtol=1e-9, atol=1e-15
    )


def test_small_values_keep_their_digits_in_float32():
    x = torch.tensor([1e-8, -3e-6, 1e-30])
    # Near zero h(x) = x (1/2 + epsilon).
    torch.testing.assert_close(signed_hyperbolic(x, 1e-3), x * 0.501, rtol=1e-6, atol=0)
    torch.testing.assert_close(signed_parabolic(x, 1e-3), x / 0.501, rtol=3e-6, atol=0)


def test_targets_carry_no_gradient():
    episode = hand_sequence()
    for name in ("q_online", "q_target"):
        episode[name].requires_grad_()
    assert not targets_of(episode, torch.tensor([0.5]), 0.5).requires_grad


def test_loss_and_priorities_by_hand():
    q_taken = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    targets = torch.tensor([[2.0, 2.0], [1.0, 99.0], [5.5, 9.0]])
    valid = torch.tensor([[True, True], [True, False], [True, True]])
    errors = td_errors(q_taken, targets, valid)
    torch.testing.assert_close(errors, torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.5, 3.0]]))
    # Sums of half squares: (1 + 4 + .25) / 2 = 2.625 and 9 / 2 = 4.5; weights 1 and .5.
    loss = sequence_loss(errors, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(loss, torch.tensor((2.625 + 2.25) / 2))
    loss.backward()
    # -weight * error / B.
    expected = torch.tensor([[-0.5, 0.0], [1.0, 0.0], [-0.25, -0.75]])
    torch.testing.assert_close(q_taken.grad, expected)
    # .9 * 2 + .1 * 3.5 / 3 and .9 * 3 + .1 * 3 / 2.
    priorities = sequence_priorities(errors, valid, eta=0.9)
    torch.testing.assert_close(priorities, torch.tensor([1.8 + 0.35 / 3, 2.85]))
    nothing = torch.zeros(3, 2, dtype=torch.bool)
    priorities = sequence_priorities(errors, nothing, floor=1e-3)
    torch.testing.assert_close(priorities, torch.tensor([1e-3, 1e-3]))


def test_errors_name_the_argument():
    episode, discount = hand_sequence(), torch.tensor([0.5])
    with pytest.raises(ValueError, match=r"trace_decay must be in \[0, 1\], got 1\.5"):
        targets_of(episode, discount, 1.5)
    with pytest.raises(ValueError, match="epsilon must be at least 0, got -1"):
        hyperbolic_transform(-1.0)
    errors, valid = torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool)
    with pytest.raises(ValueError, match="eta"):
        sequence_priorities(errors, valid, eta=2.0)
    with pytest.raises(ValueError, match="floor"):
        sequence_priorities(errors, valid, floor=-1.0)


def test_demonstrated_actions_are_to_be_likely():
    q = torch.tensor([[[1.0, 1.0, 1.0]], [[3.0, 1.0, 1.0]], [[9.0, 0.0, 0.0]]], requires_grad=True)
    action = torch.tensor([[0], [1], [2]])
    valid = torch.tensor([[True], [True], [False]])
    # The policies are (1, 1, 1) / 3 and (e^4, 1, 1) / (e^4 + 2); the last does not count.
    loss = demonstration_loss(q, action, valid, 0.5)
    assert loss.item() == pytest.approx(math.log(3) + math.log(math.exp(4) + 2), rel=1e-6)
    loss.backward()
    assert q.grad is not None
    torch.testing.assert_close(q.grad[0, 0], torch.tensor([-4.0, 2.0, 2.0]) / 3)
    assert not q.grad[2].any()
    certain = demonstration_loss(torch.tensor([[[50.0, 0.0]]]), action[:1], valid[:1], 0.5)
    assert certain.item() == 0
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        demonstration_loss(q, action, valid, 0.0)
