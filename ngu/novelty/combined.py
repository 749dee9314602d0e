"""Several bonuses as one: their product, or their sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ngu.novelty.base import IntrinsicReward


class Combined(IntrinsicReward):
    """Bonuses for the same environments, multiplied or added up; each of them trains.

    ``Combined([E3B(...), RND(...)], how="product")`` pays for what is new in the episode as far as
    it is new over the agent's life. The `lifelong` part of a product is that of those bonuses that
    have one. A sum has none: ask the members in ``bonuses`` one by one.

    Args:
        bonuses: Two or more, none twice.
        how: ``"product"`` or ``"sum"``.

    Attributes:
        parts: Each bonus's reward by its place and name, as in ``"0 E3B"``, and its parts behind
            that, as in ``"1 NGU/episodic_novelty"``.

    Raises:
        ValueError: There are fewer than two bonuses, they are of other spaces, numbers of
            environments or devices, or the way to combine them is unknown.
    """

    def __init__(
        self, bonuses: Sequence[IntrinsicReward], how: Literal["product", "sum"] = "product"
    ) -> None:
        if len(bonuses) < 2 or len(set(map(id, bonuses))) < len(bonuses):
            raise ValueError(f"bonuses must be two or more different ones, got {len(bonuses)}")
        if how not in ("product", "sum"):
            raise ValueError(f"how must be 'product' or 'sum', got {how!r}")
        first = bonuses[0]
        super().__init__(first.observation_space, first.action_space, first.num_envs, first.device)
        for place, bonus in enumerate(bonuses):
            for name in ("observation_space", "action_space", "num_envs", "device"):
                expected, got = getattr(first, name), getattr(bonus, name)
                if expected != got:
                    raise ValueError(
                        f"bonuses must agree in {name}: bonus 0 has {expected}, bonus {place} {got}"
                    )
        self.how = how
        kinds = {bonus.lifelong_of for bonus in bonuses} if how == "product" else set()
        self.lifelong_of = next((k for k in ("transition", "state") if k in kinds), None)
        self.bonuses = nn.ModuleList(bonuses)
        self._members = list(bonuses)

    def load_learned(self, state: Mapping[str, Any]) -> None:
        """Take another combination's networks and statistics, bonus by bonus."""
        for place, bonus in enumerate(self._members):
            prefix = f"bonuses.{place}."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            bonus.load_learned(own)

    def publish(self) -> None:
        """Hand each bonus's newest weights to its scoring side."""
        for bonus in self._members:
            bonus.publish()

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        for bonus in self._members:
            bonus.begin(obs, torch.from_numpy(where))

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rewards, parts = [], {}
        for place, bonus in enumerate(self._members):
            reward = bonus.score(obs_tm1, action_tm1, obs_t, torch.from_numpy(where))
            rewards.append(reward)
            name = f"{place} {type(bonus).__name__}"
            parts[name] = reward
            parts |= {f"{name}/{part}": value for part, value in bonus.parts.items()}
        together = torch.stack(rewards)
        return (together.prod(0) if self.how == "product" else together.sum(0)), parts

    def _lifelong(self, obs_t: Tensor, *left: Tensor) -> Tensor:
        transition = dict(zip(("obs_tm1", "action_tm1"), left, strict=False))
        lasting = [bonus for bonus in self._members if bonus.lifelong_of is not None]
        return torch.stack([bonus.lifelong(obs_t, **transition) for bonus in lasting]).prod(0)

    def _update(self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor) -> dict[str, float]:
        metrics = {}
        for place, bonus in enumerate(self._members):
            trained = bonus.update(obs_tm1, action_tm1, obs_t, publish=False)
            metrics |= {
                f"{place} {type(bonus).__name__}/{name}": value for name, value in trained.items()
            }
        return metrics
