"""What the settings of all bonuses share: how their networks train, and how numbers are checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class TrainingConfig:
    """How a bonus's networks train; the defaults are Never Give Up's (arXiv 2002.06038)."""

    learning_rate: float = 5e-4
    """Adam's step size."""
    adam_epsilon: float = 1e-4
    """Adam's term that keeps small gradients small."""
    max_gradient_norm: float = 40.0
    """Norm to which each network's gradient is clipped."""

    may_be_zero: ClassVar[frozenset[str]] = frozenset({"weight_decay", "cluster_distance"})

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str | bool) or value is None:
                continue
            if field.name in self.may_be_zero:
                if not value >= 0:
                    raise ValueError(f"{field.name} must be at least 0, got {value}")
            elif not value > 0:
                raise ValueError(f"{field.name} must be above 0, got {value}")


@dataclass(frozen=True)
class EmbeddingConfig(TrainingConfig):
    """Which embedding a bonus measures in."""

    embedding: Literal["inverse_dynamics", "random"] = "inverse_dynamics"
    """One learnt by guessing actions, or a fixed random network."""
    embedding_size: int = 32
    """Width of the embedding, D."""
    embedding_versions: int = 4
    """Embeddings kept side by side, so that an environment keeps one while it keeps its memory."""
    weight_decay: float = 1e-5
    """L2 penalty on the inverse dynamics, added to the gradient before Adam."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding not in ("inverse_dynamics", "random"):
            raise ValueError(
                f"embedding must be 'inverse_dynamics' or 'random', got {self.embedding!r}"
            )
