"""What agents learn from sequences, as pure functions: transformed Retrace, advantages, losses.

Sources: Munos et al., "Retrace", https://arxiv.org/abs/1606.02647; Pohlen et al., "Observe and
Look Further", https://arxiv.org/abs/1805.11593 (the transform); Kapturowski et al., "R2D2"
(ICLR 2019; priorities); Badia et al., "Never Give Up", https://arxiv.org/abs/2002.06038,
appendices A and E (all of it together); Schulman et al., "Generalized Advantage Estimation",
https://arxiv.org/abs/1506.02438, and "Proximal Policy Optimization",
https://arxiv.org/abs/1707.06347; Burda et al., "Random Network Distillation",
https://arxiv.org/abs/1810.12894 (returns that go on over the ends of episodes).

Shapes: B sequences, T steps, A actions. A sequence has T steps and T+1 observations: at index t
the action a_t is taken on observation x_t and leads to r_{t+1} and x_{t+1}. Where a step ends an
episode, x_{t+1} is the true final observation, and the step after it, which only resets the
environment, is no transition: it is marked invalid and has no part in any result.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def signed_hyperbolic(x: Float[Tensor, "..."], epsilon: float) -> Float[Tensor, "..."]:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, of Pohlen et al., proposition A.2.

    Written as x (1 / (sqrt(|x| + 1) + 1) + epsilon), which is the same and keeps the digits of
    small x.
    """
    return x * (1 / (torch.sqrt(x.abs() + 1) + 1) + epsilon)


def signed_parabolic(y: Float[Tensor, "..."], epsilon: float) -> Float[Tensor, "..."]:
    """The inverse of `signed_hyperbolic`.

    With v = sqrt(|x| + 1) - 1, |y| = epsilon v^2 + (1 + 2 epsilon) v. The root is taken in the
    form that subtracts nothing, so it holds in float32 and for epsilon = 0; then
    |x| = v (v + 2).
    """
    linear = 1 + 2 * epsilon
    v = 2 * y.abs() / (linear + torch.sqrt(linear**2 + 4 * epsilon * y.abs()))
    return torch.sign(y) * v * (v + 2)


class ValueTransform(NamedTuple):
    """A monotone function h and its inverse: the network's values are h(return)."""

    apply: Callable[[Tensor], Tensor]
    invert: Callable[[Tensor], Tensor]


def _identity(x: Tensor) -> Tensor:
    return x


IDENTITY = ValueTransform(_identity, _identity)


def hyperbolic_transform(epsilon: float = 1e-3) -> ValueTransform:
    """The pair (h, its inverse) of `signed_hyperbolic`.

    Args:
        epsilon: Slope of the linear term, at least 0. NGU's main text and R2D2 have 1e-3,
            which is used; NGU's appendix E says 1e-2.

    Raises:
        ValueError: If `epsilon` is negative or NaN.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0, got {epsilon}")
    return ValueTransform(
        partial(signed_hyperbolic, epsilon=epsilon), partial(signed_parabolic, epsilon=epsilon)
    )


@torch.no_grad()
def retrace_targets(
    *,
    action_t: Int[Tensor, "T B"],
    behaviour_probability_t: Float[Tensor, "T B"],
    reward_tp1: Float[Tensor, "T B"],
    terminated_tp1: Bool[Tensor, "T B"],
    truncated_tp1: Bool[Tensor, "T B"],
    valid_t: Bool[Tensor, "T B"],
    q_online_t: Float[Tensor, "T+1 B A"],
    q_target_t: Float[Tensor, "T+1 B A"],
    discount: Float[Tensor, " B"] | Float[Tensor, "T B"],
    trace_decay: float,
    transform: ValueTransform = IDENTITY,
) -> Float[Tensor, "T B"]:
    """Targets of transformed Retrace(lambda) with a greedy target policy.

    NGU's appendix E (equation 4 of Retrace under the transformed operator of Pohlen et al.)
    defines, for Q = h^-1(Q_target) in units of return,

        target_t = h(Q_t(a_t) + sum_{s >= t} gamma^(s-t) (prod_{i=t+1..s} c_i) delta_s),
        delta_s = r_{s+1} + gamma sum_a pi(a|x_{s+1}) Q_{s+1}(a) - Q_s(a_s),
        c_s = lambda min(1, pi(a_s|x_s) / mu(a_s|x_s)).

    Call the bracket G_t and V_t = sum_a pi(a|x_t) Q_t(a). The sum's first term makes
    r_{t+1} + gamma V_{t+1} of Q_t(a_t), and the rest is gamma c_{t+1} times the sum of G_{t+1},
    which is G_{t+1} - Q_{t+1}(a_{t+1}); hence the backward recursion used here,

        G_t = r_{t+1} + gamma (V_{t+1} + c_{t+1} (G_{t+1} - Q_{t+1}(a_{t+1}))).

    pi is greedy in the online network (the first of equal values), so Q_target evaluates what
    the online network selects, as in double Q-learning. An episode's end stops the trace:
    after a termination G_t = r_{t+1}, after a truncation G_t = r_{t+1} + gamma V_{t+1}, where
    x_{t+1} is the true final observation. So does the end of the sequence.

    Args:
        action_t: Actions taken.
        behaviour_probability_t: mu, the probability with which each action was taken.
        reward_tp1: What the policy of the sequence is paid, r_ext + beta_i r_int.
        terminated_tp1: The step ended the episode for good.
        truncated_tp1: The step ended the episode by a limit.
        valid_t: False at steps that only reset the environment.
        q_online_t: Transformed values of the network that is trained.
        q_target_t: Transformed values of the target network.
        discount: gamma of each sequence's policy, or of each step's where the policy changes
            with the episode inside a sequence.
        trace_decay: lambda in [0, 1]; 0 is one-step double Q-learning.
        transform: h and its inverse.

    Returns:
        Transformed targets, without gradient; 0 where `valid_t` is False.

    Raises:
        ValueError: If `trace_decay` lies outside [0, 1].
    """
    if not 0 <= trace_decay <= 1:
        raise ValueError(f"trace_decay must be in [0, 1], got {trace_decay}")
    q_t = transform.invert(q_target_t)
    greedy_t = q_online_t.argmax(-1)
    value_t = q_t.gather(-1, greedy_t.unsqueeze(-1)).squeeze(-1)
    action_t = action_t.long()
    q_taken_t = q_t[:-1].gather(-1, action_t.unsqueeze(-1)).squeeze(-1)

    # pi is 1 at the greedy action and 0 elsewhere, where the trace ends whatever mu says.
    ratio_t = (1 / behaviour_probability_t).clamp(max=1)
    followed_t = valid_t & (action_t == greedy_t[:-1])
    c_t = torch.where(followed_t, trace_decay * ratio_t, torch.zeros_like(ratio_t))

    discount_tp1 = torch.where(terminated_tp1, torch.zeros_like(reward_tp1), discount)
    ended_tp1 = terminated_tp1 | truncated_tp1
    correction = torch.zeros_like(reward_tp1[0])
    returns = torch.empty_like(reward_tp1)
    for t in range(len(reward_tp1) - 1, -1, -1):
        correction = torch.where(ended_tp1[t], torch.zeros_like(correction), correction)
        returns[t] = reward_tp1[t] + discount_tp1[t] * (value_t[t + 1] + correction)
        correction = c_t[t] * (returns[t] - q_taken_t[t])
    targets = transform.apply(returns)
    return torch.where(valid_t, targets, torch.zeros_like(targets))


def td_errors(
    q_taken_t: Float[Tensor, "T B"], targets_t: Float[Tensor, "T B"], valid_t: Bool[Tensor, "T B"]
) -> Float[Tensor, "T B"]:
    """Errors target_t - Q(x_t, a_t), transformed; 0 and without gradient at invalid steps."""
    return torch.where(valid_t, targets_t - q_taken_t, torch.zeros_like(q_taken_t))


def sequence_loss(
    td_errors_t: Float[Tensor, "T B"], importance_weights: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Half the squared errors, summed over time, weighted, and averaged over the sequences.

    The sum over time (rather than the mean) gives every valid step the same say, also in
    sequences that hold resets, and is the scale at which NGU's gradient clipping at norm 40 and
    Adam's epsilon of 1e-4 mean something; the papers themselves do not say.

    Args:
        td_errors_t: What `td_errors` returns: 0 at invalid steps.
        importance_weights: Weight of each sequence.
    """
    return (importance_weights * 0.5 * td_errors_t.square().sum(0)).mean()


def demonstration_loss(
    q_t: Float[Tensor, "T B A"],
    action_t: Int[Tensor, "T B"],
    valid_t: Bool[Tensor, "T B"],
    temperature: float,
) -> Float[Tensor, ""]:
    """How unlikely a policy of these values takes the demonstrated actions: its cross-entropy.

    The policy is proportional to exp(Q / temperature): log sum_a exp(Q(x_t, a) / temperature) -
    Q(x_t, a_t) / temperature, the regulariser of conservative Q-learning (Kumar et al., arXiv
    2006.04779, equation 4), summed over time and averaged over the sequences as `sequence_loss` is.

    Args:
        q_t: Values of the demonstrated states.
        action_t: What was demonstrated.
        valid_t: Steps that count.
        temperature: Above 0, in the values' own units.

    Raises:
        ValueError: If `temperature` is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    action_t = action_t.long().unsqueeze(-1)
    logits_t = q_t / temperature
    unlikely_t = logits_t.logsumexp(-1) - logits_t.gather(-1, action_t).squeeze(-1)
    return torch.where(valid_t, unlikely_t, torch.zeros_like(unlikely_t)).sum(0).mean()


@torch.no_grad()
def sequence_priorities(
    td_errors_t: Float[Tensor, "T B"],
    valid_t: Bool[Tensor, "T B"],
    eta: float = 0.9,
    floor: float = 1e-6,
) -> Float[Tensor, " B"]:
    """Priority of each sequence: eta max_t |delta_t| + (1 - eta) mean_t |delta_t| (R2D2, 2.3).

    Args:
        td_errors_t: Errors of the steps.
        valid_t: Steps that count; a sequence without any has priority `floor`.
        eta: Weight of the largest error, in [0, 1].
        floor: Smallest priority, so that every sequence can be drawn again.

    Raises:
        ValueError: If `eta` lies outside [0, 1] or `floor` is negative.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], got {eta}")
    if not floor >= 0:
        raise ValueError(f"floor must be at least 0, got {floor}")
    size = torch.where(valid_t, td_errors_t.abs(), torch.zeros_like(td_errors_t))
    mean = size.sum(0) / valid_t.sum(0).clamp(min=1)
    return (eta * size.amax(0) + (1 - eta) * mean).clamp(min=floor)


@torch.no_grad()
def generalised_advantages(
    *,
    reward_tp1: Float[Tensor, "T B"],
    value_t: Float[Tensor, "T+1 B"],
    terminated_tp1: Bool[Tensor, "T B"],
    truncated_tp1: Bool[Tensor, "T B"],
    valid_t: Bool[Tensor, "T B"],
    discount: float,
    trace_decay: float,
) -> Float[Tensor, "T B"]:
    """Generalised advantages (Schulman et al., equation 16) by their backward recursion.

        A_t = delta_t + gamma lambda A_{t+1},    delta_t = r_{t+1} + gamma V_{t+1} - V_t.

    After a termination A_t = r_{t+1} - V_t; after a truncation A_t = delta_t with the value of
    x_{t+1}, the true final observation. An invalid step takes no time: what precedes it is followed
    by what comes after it. So a return that goes on over the ends of episodes, as RND's intrinsic
    one does, needs no more than both kinds of ends given as False everywhere: the first state of
    the next episode then follows the last step of this one.

    Args:
        reward_tp1: Rewards.
        value_t: Values of the observations, those after the last step included.
        terminated_tp1: The step ended the episode for good.
        truncated_tp1: The step was the last before a time limit.
        valid_t: False where the step only reset the environment.
        discount: gamma.
        trace_decay: lambda in [0, 1]; 0 is the one-step error.

    Returns:
        Advantages, without gradient; 0 where `valid_t` is False. Advantage plus value is the
        target of the value.

    Raises:
        ValueError: If `discount` or `trace_decay` lies outside [0, 1].
    """
    for name, number in (("discount", discount), ("trace_decay", trace_decay)):
        if not 0 <= number <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {number}")
    zero = torch.zeros_like(reward_tp1[0])
    advantages = torch.zeros_like(reward_tp1)
    value_tp1, advantage_tp1 = value_t[-1], zero
    for t in range(len(reward_tp1) - 1, -1, -1):
        ended = terminated_tp1[t] | truncated_tp1[t]
        following = torch.where(truncated_tp1[t], value_t[t + 1], value_tp1)
        following = torch.where(terminated_tp1[t], zero, following)
        trace = torch.where(ended, zero, advantage_tp1)
        delta = reward_tp1[t] + discount * following - value_t[t]
        advantage = delta + discount * trace_decay * trace
        advantages[t] = torch.where(valid_t[t], advantage, zero)
        advantage_tp1 = torch.where(valid_t[t], advantage, advantage_tp1)
        value_tp1 = torch.where(valid_t[t], value_t[t], value_tp1)
    return advantages


@torch.no_grad()
def discounted_sums(
    reward_tp1: Float[Tensor, "T B"],
    valid_t: Bool[Tensor, "T B"],
    sum_t: Float[Tensor, " B"],
    discount: float,
) -> Float[Tensor, "T B"]:
    """Sums of past rewards, s_{t+1} = gamma s_t + r_{t+1}, of each sequence along its time.

    RND (section 2.4) divides intrinsic rewards by the standard deviation of these sums.

    Args:
        reward_tp1: Rewards.
        valid_t: False where the step only reset the environment: the sum stays as it is.
        sum_t: The sums before the first step.
        discount: gamma.

    Returns:
        The sums after each step.
    """
    sums = torch.empty_like(reward_tp1)
    for t in range(len(reward_tp1)):
        sum_t = torch.where(valid_t[t], discount * sum_t + reward_tp1[t], sum_t)
        sums[t] = sum_t
    return sums


def clipped_surrogate(
    log_ratio: Float[Tensor, "*shape"], advantage: Float[Tensor, "*shape"], clip: float
) -> Float[Tensor, "*shape"]:
    """The objective of proximal policy optimisation (equation 7), one number for each action.

    min(w A, min(max(w, 1 - clip), 1 + clip) A) with w = pi(a|x) / mu(a|x): no more is gained by
    moving an action's probability further than the clip.

    Args:
        log_ratio: log w.
        advantage: A.
        clip: How far w may move from 1 and still gain, at least 0.

    Raises:
        ValueError: If `clip` is negative or NaN.
    """
    if not clip >= 0:
        raise ValueError(f"clip must be at least 0, got {clip}")
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
