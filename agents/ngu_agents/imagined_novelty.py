"""What pays imagined states for being new: memory and latent, or a learned head.

Each learns from replayed states of the world model, most beside it and without changing it.

Shapes: T time, B sequences, H imagined steps, N imagined trajectories, S features of a state, A
encoded action, D embedding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from ngu.moments import RunningMoments
from ngu.nets import linear
from ngu.novelty.distillation import Distiller
from ngu.novelty.kernel import lifelong_modulator
from ngu.novelty.ngu import NGU
from ngu.novelty.optimisers import Optimisers
from ngu.world.distributions import symexp_bins, two_hot_loss, two_hot_mean
from ngu.world.layers import Dense

_WINDOW = 10_000
"""Replayed steps over which the embedding's errors are averaged."""
_TOLERATED = 2.0
"""Mean squared errors of the predicted embedding within which it counts as a remembered one."""
_LEAST_SHARE = 1e-3
"""Share of the embeddings' variance that the model need not predict any better."""
_LEARNING_RATE, _ADAM_EPSILON, _MAX_NORM = 1e-3, 1e-8, 100.0


class Replayed(NamedTuple):
    """States of replayed sequences, without gradient, and what came with them; R of them.

    A state's step is the one that led to it.
    """

    features: Float[Tensor, "R S"]
    """Of the states."""
    features_tm1: Float[Tensor, "R S"]
    """Of the states before the steps."""
    action_tm1: Shaped[Tensor, "R ..."]
    """Actions of the steps, as the environments take them."""
    embedding_error: Float[Tensor, " R"]
    """Squared errors of the predicted embeddings, see `EmbeddingLoss`."""
    reward_int: Float[Tensor, " R"]
    """Intrinsic rewards that the states earned when they were reached."""
    followed: Bool[Tensor, " R"]
    """There was such a step; False in an episode's first states."""


class Passed(NamedTuple):
    """Replayed sequences that imagined trajectories begin in; B of them, P states each."""

    features: Float[Tensor, "P B S"]
    """Of the states, as they were followed."""
    embedded: Float[Tensor, "P B D"] | None
    """What was seen in them, see `RememberedNovelty.embed`."""
    counted: Bool[Tensor, "P N"]
    """The trajectory passed that state in the episode that it goes on with."""
    whole: Bool[Tensor, " N"]
    """That episode began in the sequence: nothing else was passed in it."""


class Dreamt(NamedTuple):
    """Imagined trajectories."""

    features: Float[Tensor, "H+1 N S"]
    """Of the states, where they begin included."""
    actions: Float[Tensor, "H N A"]
    """Encoded actions: action t led to state t + 1."""
    envs: Int[np.ndarray, " N"]
    """Environment whose memory each is compared with, -1 for none."""
    embedded: Float[Tensor, "N D"] | None = None
    """What was seen where they begin, see `RememberedNovelty.embed`."""
    passed: Passed | None = None
    """What was replayed before they begin: trajectory n begins in sequence n modulo B."""


class EmbeddingLoss(NamedTuple):
    """How well embeddings are predicted from a world model's states."""

    nats: Float[Tensor, ""]
    """What the model's training makes small."""
    share: Float[Tensor, ""]
    """Of the embeddings' variance within episodes, that is missed."""
    errors: Float[Tensor, "T B"]
    """Squared distances of what is predicted to what is remembered, without gradient; unbiased,
    and NaN in steps that are the only ones of their episode in a sequence."""


class ImaginedReward(nn.Module, ABC):
    """Pays imagined states, and learns to from replayed ones."""

    @abstractmethod
    def pay(self, dreamt: Dreamt) -> Float[Tensor, "H N"]:
        """Intrinsic rewards of the states reached, without gradient."""

    @abstractmethod
    def learn(self, replayed: Replayed) -> dict[str, float]:
        """Train once; returns metrics."""


class RememberedNovelty(ImaginedReward):
    """Never Give Up's reward, imagined.

    Episodic novelty is the distance to the nearest of what the same trajectory has passed, the
    replayed steps that led to it included, and of what an environment's memory holds, where the
    replay has not seen the episode begin: the memory is that of the episode that runs now, and most
    trajectories go on with one of long ago. A head of the world model predicts the embedding from
    the state, and what it errs by on replayed states is tolerated where it is compared with what is
    remembered. The lifelong modulator is that of a distillation on states in place of observations.

    Distances are between states of one episode. What embeddings of an episode have in common, which
    may be most of their variance (the walls of a maze), is neither learned nor needed: a trajectory
    begins at the embedding of what was seen there, and the head tells how it goes on from that.

    Args:
        bonus: whose memories are read.
        features: width S of a state's features.
        hidden: width of the head's layer.
        generator: draws the weights; a CPU one.

    Attributes:
        embedding: the head, trained with the world model.
    """

    def __init__(
        self, bonus: NGU, features: int, hidden: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        # Not a submodule: it belongs to the agent.
        self._bonus = [bonus]
        config, device = bonus.config, bonus.device
        self.embedding = nn.Sequential(
            Dense((features,), hidden, generator=generator),
            linear(hidden, bonus.encoder.size, generator=generator, gain=1.0),
        ).to(device)
        self.distiller = Distiller(
            gymnasium.spaces.Box(-math.inf, math.inf, (features,), np.float32),
            config.distillation_size,
            bound=config.observation_bound,
            generator=generator,
            dtype=torch.float32,
            device=device,
        )
        self._errors = RunningMoments((), device, config.statistics_window)
        self._embedding_errors = RunningMoments((), device, _WINDOW)
        self._optimisers = _optimisers(imagined_distillation=self.distiller.trained.predictor)

    @torch.no_grad()
    def embed(self, observations: Shaped[Tensor, "T B ..."]) -> Float[Tensor, "T B D"]:
        """The newest embeddings, which are to be predicted."""
        embedded = self._bonus[0].encoder.newest(observations.flatten(0, 1))
        return embedded.unflatten(0, observations.shape[:2])

    def embedding_loss(
        self,
        features: Float[Tensor, "T B S"],
        embedded: Float[Tensor, "T B D"],
        episode: Int[Tensor, "T B"],
    ) -> EmbeddingLoss:
        """How well `embedding` predicts what `embed` returned; its gradient also trains the model.

        It is that of a Gaussian as wide as its errors, in nats up to a constant. Errors and
        variance are around the means of each episode's steps in a sequence. The best width makes
        it D/2 times the logarithm of the errors' mean square, which has no unit and needs no weight
        beside the model's other nats (Rybkin et al., arXiv 2006.13202).

        Args:
            features: of states.
            embedded: what was seen in them.
            episode: numbers, from 0, of the episodes in each sequence.
        """
        missed, steps = _centred(self.embedding(features) - embedded, episode)
        with torch.no_grad():
            variance = _centred(embedded, episode)[0].square().mean().clamp_min(1e-12)
            units = self._bonus[0].as_remembered
            remembered = embedded.flatten(0, 1)
            errors = units(remembered + missed.flatten(0, 1)) - units(remembered)
        share = missed.square().mean() / variance
        nats = embedded.shape[-1] / 2 * (share / _LEAST_SHARE).log1p()
        squares = errors.square().sum(-1).unflatten(0, episode.shape) * steps / (steps - 1)
        return EmbeddingLoss(nats, share.detach(), squares)

    @torch.no_grad()
    def pay(self, dreamt: Dreamt) -> Float[Tensor, "H N"]:
        """Episodic novelty times the modulator."""
        bonus, reached, passed = self._bonus[0], dreamt.features[1:], dreamt.passed
        assert dreamt.embedded is not None
        predicted = self.embedding(dreamt.features)
        novelty = bonus.imagined_novelty(
            dreamt.embedded + predicted - predicted[0],
            dreamt.envs,
            passed=None if passed is None else passed.embedded,
            counted=None if passed is None else passed.counted,
            tolerance=_TOLERATED * self._embedding_errors.mean.item(),
        )
        error = self.distiller.error(reached.flatten(0, 1)).unflatten(0, reached.shape[:2])
        return novelty * lifelong_modulator(
            error, self._errors.mean, self._errors.std, maximum=bonus.config.max_modulator
        )

    def learn(self, replayed: Replayed) -> dict[str, float]:
        """Train the distillation, and note what the embedding errs by."""
        errors = replayed.embedding_error
        self._embedding_errors.update(errors[~errors.isnan()])
        self.distiller.observe(replayed.features)
        metrics = self._optimisers.step(
            {"imagined_distillation": self.distiller.loss(replayed.features)}
        )
        self.distiller.publish()
        self._errors.update(self.distiller.error(replayed.features))
        return metrics

    def get_extra_state(self) -> dict[str, Any]:
        """Return moments and optimisers."""
        return {
            "errors": self._errors.state_dict(),
            "embedding_errors": self._embedding_errors.state_dict(),
            "optimisers": self._optimisers.state_dict(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set what `get_extra_state` returned."""
        self._errors.load_state_dict(state["errors"])
        self._embedding_errors.load_state_dict(state["embedding_errors"])
        self._optimisers.load_state_dict(state["optimisers"])


class RememberedLatents(ImaginedReward):
    """The reward of an NGU that sees the world model's states itself.

    What is imagined is compared with what is remembered as it is, and the lifelong modulator is the
    very one of what is experienced.

    Args:
        bonus: sees features of states; whose memories are read, and which is trained here.
    """

    def __init__(self, bonus: NGU) -> None:
        super().__init__()
        # Not a submodule: it belongs to the agent.
        self._bonus = [bonus]

    @torch.no_grad()
    def pay(self, dreamt: Dreamt) -> Float[Tensor, "H N"]:
        """Episodic novelty times the modulator."""
        bonus, reached, passed = self._bonus[0], dreamt.features[1:], dreamt.passed
        novelty = bonus.imagined_novelty(
            dreamt.features,
            dreamt.envs,
            passed=None if passed is None else passed.features,
            counted=None if passed is None else passed.counted,
        )
        return novelty * bonus.lifelong(reached.flatten(0, 1)).unflatten(0, reached.shape[:2])

    def learn(self, replayed: Replayed) -> dict[str, float]:
        """Train the bonus; where no step was taken there is nothing to learn from."""
        rows = replayed.followed
        if not rows.any():
            return {}
        columns = replayed.features_tm1, replayed.action_tm1, replayed.features
        before, action, after = (column[rows] for column in columns)
        return self._bonus[0].update(before, action, after, publish=False)


class PredictedNovelty(ImaginedReward):
    """A head that learns the novelty that states earned when they were reached.

    Args:
        features: width S of a state's features.
        hidden: width of its layer.
        generator: draws the weights; a CPU one.
        device: where it computes.
    """

    def __init__(
        self, features: int, hidden: int, *, generator: torch.Generator, device: torch.device
    ) -> None:
        super().__init__()
        self.bins: Tensor
        self.register_buffer("bins", symexp_bins(), persistent=False)
        self.head = nn.Sequential(
            Dense((features,), hidden, generator=generator),
            linear(hidden, len(self.bins), generator=generator, gain=0.0),
        )
        self.to(device)
        self._optimisers = _optimisers(novelty_head=self.head)

    @torch.no_grad()
    def pay(self, dreamt: Dreamt) -> Float[Tensor, "H N"]:
        """The mean that the head predicts."""
        return two_hot_mean(self.head(dreamt.features[1:]).softmax(-1), self.bins)

    def learn(self, replayed: Replayed) -> dict[str, float]:
        """Train the head; where no step was taken there is nothing to learn from."""
        rows = replayed.followed
        if not rows.any():
            return {}
        logits = self.head(replayed.features[rows])
        loss = two_hot_loss(logits, replayed.reward_int[rows], self.bins)
        return self._optimisers.step({"novelty_head": loss.mean()})

    def get_extra_state(self) -> dict[str, Any]:
        """Return the optimisers."""
        return {"optimisers": self._optimisers.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set what `get_extra_state` returned."""
        self._optimisers.load_state_dict(state["optimisers"])


def _centred(
    values: Float[Tensor, "T B D"], episode: Int[Tensor, "T B"]
) -> tuple[Float[Tensor, "T B D"], Float[Tensor, "T B"]]:
    """Less their mean over the same episode of the same sequence, and how many steps that has."""
    same = nn.functional.one_hot(episode).to(values).transpose(0, 1)
    steps = same.sum(1)
    means = same.mT @ values.transpose(0, 1) / steps.clamp_min(1).unsqueeze(-1)
    return values - (same @ means).transpose(0, 1), (same @ steps.unsqueeze(-1)).squeeze(-1).T


def _optimisers(**modules: nn.Module) -> Optimisers:
    return Optimisers(
        {name: module.parameters() for name, module in modules.items()},
        learning_rate=_LEARNING_RATE,
        adam_epsilon=_ADAM_EPSILON,
        max_gradient_norm=_MAX_NORM,
    )
