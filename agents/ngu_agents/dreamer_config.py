"""The settings of the agent that learns in imagination; the defaults are DreamerV3's of 12M."""

from __future__ import annotations

from dataclasses import dataclass, field

from ngu.world.model import WorldModelConfig
from ngu.world.rssm import RSSMConfig


@dataclass(frozen=True)
class DreamerConfig:
    """Settings of DreamerV3's agent (arXiv 2301.04104), its world model included."""

    world: WorldModelConfig = field(
        default_factory=lambda: WorldModelConfig(RSSMConfig(deterministic_size=2048))
    )
    """The world model."""
    hidden: int = 256
    """Width of the layers of policy and values."""
    layers: int = 3
    """Layers of the policy and of each value."""
    horizon: int = 15
    """Steps that are imagined from a replayed state."""
    starts_per_sequence: int | None = None
    """Replayed states of a sequence that it is imagined from, drawn by chance; None takes all."""
    gamma_ext: float = 1 - 1 / 333
    """Discount of the extrinsic return."""
    gamma_int: float = 0.99
    """Discount of the intrinsic return."""
    trace_decay: float = 0.95
    """Lambda of the returns."""
    entropy_weight: float = 3e-4
    """Weight of the policy's entropy in its loss."""
    extrinsic_weight: float = 1.0
    """Weight of the extrinsic advantage, in units of its returns' range."""
    intrinsic_weight: float = 1.0
    """Weight of the intrinsic advantage, in units of its returns' range."""
    novelty_head: bool = False
    """Whether imagined states are paid what a head learned from the novelty of experienced ones,
    in place of what memory and latent say; always so for bonuses other than ngu and disagreement.
    """
    latent_memory: bool = False
    """Whether NGU's memory holds the world model's states in place of an embedding by inverse
    dynamics, and lifelong novelty is that of states too."""
    slow_decay: float = 0.98
    """Decay of the slow values, whose predictions regularise the values."""
    learning_rate: float = 4e-5
    """Adam's step size, of model, policy and values."""
    adam_epsilon: float = 1e-8
    """Adam's term that keeps small gradients small."""
    max_gradient_ratio: float = 0.3
    """Largest norm of a tensor's gradient, in units of the tensor's own (AGC)."""
    batch_size: int = 16
    """Sequences in an update."""
    replay_ratio: float = 32.0
    """Replayed steps for each environment step."""
    bonus_batch_size: int = 256
    """Replayed steps in an update that train the intrinsic reward's networks."""

    def __post_init__(self) -> None:
        positive = (
            "hidden", "layers", "horizon", "learning_rate", "adam_epsilon", "max_gradient_ratio",
            "batch_size", "replay_ratio", "bonus_batch_size",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.starts_per_sequence is not None and self.starts_per_sequence < 1:
            raise ValueError(
                f"starts_per_sequence must be at least 1 or None, got {self.starts_per_sequence}"
            )
        if self.novelty_head and self.latent_memory:
            raise ValueError(
                "novelty_head and latent_memory are two ways to pay imagined states, got both"
            )
        for name in ("entropy_weight", "extrinsic_weight", "intrinsic_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("gamma_ext", "gamma_int", "slow_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.trace_decay <= 1:
            raise ValueError(f"trace_decay must be in [0, 1], got {self.trace_decay}")


@dataclass(frozen=True)
class LatentDisagreementConfig:
    """Settings of the disagreement about the next latent (Plan2Explore, arXiv 2005.05960)."""

    models: int = 8
    """Networks that predict the next latent, M."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    adam_epsilon: float = 1e-8
    """Adam's term that keeps small gradients small."""
    max_gradient_norm: float = 100.0
    """Norm to which the gradient is clipped."""

    def __post_init__(self) -> None:
        if self.models < 2:
            raise ValueError(f"models must be at least 2, got {self.models}")
        for name in ("learning_rate", "adam_epsilon", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
