"""The settings of the PPO agent; the defaults are those of random network distillation's agent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PPOConfig:
    """Settings of the agent of Burda et al. (arXiv 1810.12894 and its published code)."""

    rollout_length: int = 128
    """Steps that each environment takes between two trainings."""
    epochs: int = 4
    """Times that a training goes through the rollout."""
    minibatches: int = 4
    """Parts that an epoch divides the rollout into, with one step of the optimiser for each."""
    learning_rate: float = 1e-4
    """Adam's step size."""
    adam_epsilon: float = 1e-5
    """Adam's term that keeps small gradients small."""
    max_gradient_norm: float = 0.5
    """Norm to which the gradient is clipped."""
    gamma_ext: float = 0.999
    """Discount of the extrinsic return, which ends with the episode."""
    gamma_int: float = 0.99
    """Discount of the intrinsic return, which goes on over the ends of episodes."""
    trace_decay: float = 0.95
    """Lambda of the generalised advantages, for both returns."""
    clip: float = 0.1
    """How far the ratio of the probabilities of an action may move from 1 and still gain."""
    entropy_weight: float = 0.001
    """Weight of the policy's entropy in the loss."""
    value_weight: float = 1.0
    """Weight of each value's half mean squared error in the loss."""
    extrinsic_weight: float = 2.0
    """Weight of the extrinsic advantage beside the intrinsic one."""
    intrinsic_weight: float = 1.0
    """Weight of the intrinsic advantage; their sum is normalised over the rollout."""
    reward_bound: float | None = 1.0
    """Extrinsic rewards are clipped to +- this; None takes them as they are."""
    bonus_share: float = 0.25
    """Share of each minibatch that trains the intrinsic reward's networks; 0 leaves them as they
    are."""
    features: int = 256
    """Width of the torso's output."""
    hidden: int = 448
    """Width of the layers after the torso, or units of the LSTM."""
    recurrent: bool = False
    """Whether an LSTM follows the torso; minibatches are then made of whole environments."""

    def __post_init__(self) -> None:
        positive = (
            "rollout_length", "epochs", "minibatches", "learning_rate", "adam_epsilon",
            "max_gradient_norm", "features", "hidden",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        weights = ("entropy_weight", "value_weight", "extrinsic_weight", "intrinsic_weight")
        for name in ("clip", *weights):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("gamma_ext", "gamma_int"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("trace_decay", "bonus_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.reward_bound is not None and not self.reward_bound > 0:
            raise ValueError(f"reward_bound must be above 0 or None, got {self.reward_bound}")
