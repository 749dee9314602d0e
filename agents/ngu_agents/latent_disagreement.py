"""What pays imagined states for being uncertain: an ensemble that disagrees about the next latent.

Source: Sekar et al., Plan2Explore (arXiv 2005.05960).

Shapes: R replayed steps, H imagined steps, N imagined trajectories, S features of a state, A
encoded action.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ngu.moments import RunningMoments
from ngu.novelty.forward import ForwardModels
from ngu.novelty.optimisers import Optimisers
from ngu.spaces import ActionSpec
from ngu_agents.dreamer_config import LatentDisagreementConfig
from ngu_agents.imagined_novelty import Dreamt, ImaginedReward, Replayed

_WINDOW = 10_000
"""Replayed steps over which the variance is averaged."""


class LatentDisagreement(ImaginedReward):
    """Variance of M networks' predictions of the next stochastic state.

    It is paid in units of its mean over what was replayed lately: it shrinks a hundredfold while
    the networks learn, and a value's bins do not tell returns of a few thousandths apart.

    Args:
        features: width S of a state's features.
        stochastic: width of their last part, the stochastic state.
        actions: of a single environment.
        config: settings.
        generator: draws the weights; a CPU one.
        device: where they compute.
    """

    def __init__(
        self,
        features: int,
        stochastic: int,
        actions: ActionSpec,
        config: LatentDisagreementConfig,
        *,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        super().__init__()
        self._stochastic, self._actions = stochastic, actions
        self.models = ForwardModels(
            features,
            actions.size,
            config.models,
            outputs=stochastic,
            generator=generator,
            device=device,
        )
        self._optimisers = Optimisers(
            {"disagreement": self.models.trained.parameters()},
            learning_rate=config.learning_rate,
            adam_epsilon=config.adam_epsilon,
            max_gradient_norm=config.max_gradient_norm,
        )
        self._variance = RunningMoments((), device, _WINDOW)

    @torch.no_grad()
    def pay(self, dreamt: Dreamt) -> Float[Tensor, "H N"]:
        """The variance, in units of its mean over replayed steps; as it is before the first."""
        variance = self.variance(dreamt.features[:-1].flatten(0, 1), dreamt.actions.flatten(0, 1))
        if self._variance.count:
            variance = variance / self._variance.mean.float().clamp_min(1e-12)
        return variance.unflatten(0, dreamt.actions.shape[:2])

    @torch.no_grad()
    def variance(
        self, features: Float[Tensor, "R S"], actions: Float[Tensor, "R A"]
    ) -> Float[Tensor, " R"]:
        """The variance of what states and encoded actions lead to, a mean over its numbers."""
        return self.models.predict(features, actions).var(0, unbiased=False).mean(-1)

    def learn(self, replayed: Replayed) -> dict[str, float]:
        """Train the models; where no step was taken there is nothing to learn from."""
        rows = replayed.followed
        if not rows.any():
            return {}
        before, actions = replayed.features_tm1[rows], replayed.action_tm1[rows]
        actions = self._actions.encode(actions)
        reached = replayed.features[rows][:, -self._stochastic :]
        loss = self.models.loss(before, actions, reached)
        metrics = self._optimisers.step({"disagreement": loss})
        self.models.publish()
        self._variance.update(self.variance(before, actions))
        return metrics

    def get_extra_state(self) -> dict[str, Any]:
        """Return the mean variance and the optimisers."""
        return {
            "variance": self._variance.state_dict(),
            "optimisers": self._optimisers.state_dict(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set what `get_extra_state` returned."""
        self._variance.load_state_dict(state["variance"])
        self._optimisers.load_state_dict(state["optimisers"])
