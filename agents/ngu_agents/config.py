"""The settings of the recurrent replay agent; the defaults are the paper's table for Atari."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RecurrentReplayConfig:
    """Settings of Never Give Up's agent (arXiv 2002.06038, tables 5 and 6)."""

    num_policies: int = 32
    """Policies N of the family; policy 0 exploits, policy N-1 explores most."""
    beta: float = 0.3
    """Largest weight of the intrinsic reward in the family."""
    gamma_max: float = 0.997
    """Discount of policy 0."""
    gamma_min: float = 0.99
    """Discount of policy N-1."""
    epsilon: float = 0.4
    """Share of random actions of the first environment."""
    epsilon_exponent: float = 8.0
    """How much less the last environment explores: its share is epsilon^(1 + this)."""
    features: int = 512
    """Width of the torso's output."""
    hidden: int = 512
    """Units of the LSTM and width of the dueling heads."""
    recurrent: bool = True
    """Whether the LSTM remembers; without, each step is read as if it were an episode's first."""
    learning_rate: float = 1e-4
    """Adam's step size for the value function."""
    adam_epsilon: float = 1e-4
    """Adam's epsilon for the value function."""
    max_gradient_norm: float = 40.0
    """Norm to which the gradient of the value loss is clipped."""
    batch_size: int = 64
    """Sequences in an update."""
    replay_ratio: float = 1.0
    """Steps trained on (burn-in aside) for each step taken in the environments."""
    trace_decay: float = 0.95
    """Lambda of Retrace."""
    value_transform: Literal["hyperbolic", "identity"] = "hyperbolic"
    """Function h of the transformed Bellman operator."""
    transform_epsilon: float = 1e-3
    """Slope of h's linear term."""
    target_period: int = 1500
    """Updates between copies of the network to the target network."""
    priority_mix: float = 0.9
    """Eta: weight of the largest error against the mean in a sequence's priority."""
    bonus_batch_size: int = 320
    """Transitions in an update of the intrinsic reward's networks, drawn uniformly from the replay;
    0 leaves the networks as they are (the paper: the last 5 of each of its 64 sequences)."""
    demonstrations: str | None = None
    """File that ngu.demonstrate wrote; none for none."""
    demonstration_share: float = 0.25
    """Chance of each of an update's sequences to be one of a demonstration (R2D3, 1909.01387)."""
    demonstration_updates: int = 0
    """Updates in the beginning that see demonstrations alone and imitate them, one at each step of
    all environments (DQfD, 1704.03732, which learns their values as well)."""
    demonstration_dropout: float = 0.0
    """Share of the features that updates of demonstrations alone do not see (Srivastava et al.,
    "Dropout", 2014), so that few demonstrations are not learned by heart."""
    demonstration_temperature: float = 0.1
    """With demonstrations, actions that are not random are drawn in proportion to exp(Q / this),
    and the demonstrated ones are to be likely (conservative Q-learning, 2006.04779)."""

    def __post_init__(self) -> None:
        positive = (
            "num_policies", "features", "hidden", "learning_rate", "adam_epsilon",
            "max_gradient_norm", "batch_size", "replay_ratio", "target_period",
            "demonstration_temperature",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in (
            "beta", "epsilon_exponent", "bonus_batch_size", "transform_epsilon",
            "demonstration_updates",
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("epsilon", "trace_decay", "priority_mix", "demonstration_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.demonstration_dropout < 1:
            raise ValueError(
                f"demonstration_dropout must be in [0, 1), got {self.demonstration_dropout}"
            )
        if not 0 <= self.gamma_min <= self.gamma_max < 1:
            raise ValueError(
                "gammas must hold 0 <= gamma_min <= gamma_max < 1, got gamma_min "
                f"{self.gamma_min} and gamma_max {self.gamma_max}"
            )

    @property
    def temperature(self) -> float:
        """At which actions are drawn: 0 for the best one of each state."""
        return 0.0 if self.demonstrations is None else self.demonstration_temperature
