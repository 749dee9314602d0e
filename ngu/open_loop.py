"""Open-loop prediction: a world model looks at a few observations, then only at actions.

Source: Hafner et al., PlaNet (arXiv 1811.04551) and DreamerV3 (arXiv 2301.04104), figure 4: five
observations of context and 45 predicted ones.

Shapes: C context, H predicted steps, T = C + H, E environments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Float, Shaped, UInt8

from ngu.dreaming_players import DreamerPlayer
from ngu.spaces import ObservationSpec
from ngu.world.codec import Codec, GridCodec, PictureCodec
from ngu.world.distributions import symlog
from ngu_agents.base import Step

ERROR_OF = {
    PictureCodec: "mean squared error of pixels in [0, 1]",
    GridCodec: "share of places with another symbol",
}
VECTOR_ERROR = "mean squared error of symlog numbers"

_GAP = 2
_SEEN, _PREDICTED = (110, 110, 120), (255, 176, 46)


@dataclass(frozen=True)
class OpenLoop:
    """What was seen and what was predicted."""

    seen: Shaped[np.ndarray, "T E ..."]
    """Observations of the environments."""
    predicted: Shaped[np.ndarray, "H E ..."]
    """Of the last H of them, by the model."""
    alive: Bool[np.ndarray, "T E"]
    """The episode that began the context still goes on."""
    context: int
    """C."""
    codec: Codec
    """Of the model, which says how observations compare."""

    def errors(self) -> dict[str, Float[np.ndarray, " H"]]:
        """The error at each predicted step, averaged over the episodes that still go on.

        "model"; "last frame": the last observation of the context; "mean frame": the mean of all
        that was seen, the likeliest symbol of each place in a grid. NaN where no episode goes on.
        """
        truth = self.seen[self.context :]
        constants = {
            "last frame": np.broadcast_to(self.seen[self.context - 1], truth.shape),
            "mean frame": np.broadcast_to(self._mean_frame(), truth.shape),
        }
        alive = self.alive[self.context :]
        found = {}
        for name, frames in ({"model": self.predicted} | constants).items():
            error = np.where(alive, self._error(frames, truth), 0.0).sum(1)
            found[name] = error / np.where(alive.any(1), alive.sum(1), np.nan)
        return found

    def frames(self, zoom: int) -> list[UInt8[np.ndarray, "height width 3"]]:
        """Pictures of a film: the truth above the prediction, an episode in each column.

        A line between them is grey while the model sees the truth, and bright when it predicts.
        """
        spec = self.codec.spec
        empty = np.zeros_like(self.seen[0])
        film = []
        for t, seen in enumerate(self.seen):
            alive = self.alive[t].reshape(-1, *[1] * (seen.ndim - 1))
            predicted = self.predicted[t - self.context] if t >= self.context else seen
            rows = [_row(np.where(alive, part, empty), spec, zoom) for part in (seen, predicted)]
            line = np.empty((2 * _GAP, rows[0].shape[1], 3), np.uint8)
            line[:] = _SEEN if t < self.context else _PREDICTED
            film.append(np.concatenate((rows[0], line, rows[1])))
        return film

    def _mean_frame(self) -> np.ndarray:
        seen = self.seen[self.alive]
        if isinstance(self.codec, GridCodec):
            counts = [(seen == symbol).sum(0) for symbol in range(self.codec.symbols)]
            return np.argmax(counts, axis=0).astype(seen.dtype)
        return seen.astype(np.float64).mean(0)

    def _error(self, frames: np.ndarray, truth: np.ndarray) -> Float[np.ndarray, "H E"]:
        axes = tuple(range(2, truth.ndim))
        if isinstance(self.codec, GridCodec):
            return (frames != truth).mean(axes)
        frames, truth = frames.astype(np.float64), truth.astype(np.float64)
        if isinstance(self.codec, PictureCodec):
            return np.square((frames - truth) * self.codec.spec.scale).mean(axes)
        of_symlog = (symlog(torch.from_numpy(part)).numpy() for part in (frames, truth))
        return np.square(np.subtract(*of_symlog)).mean(axes)


def predict(
    envs: VectorEnv, player: DreamerPlayer, *, context: int, horizon: int, seed: int
) -> OpenLoop:
    """Play, then predict what was seen from the actions taken.

    Args:
        envs: the environments to play in; their first episodes begin here.
        player: plays them.
        context: observations C that the model sees.
        horizon: steps H that it predicts.
        seed: of the model's samples.
    """
    num_envs = envs.num_envs
    observation, _ = envs.reset()
    player.begin(observation, np.zeros(num_envs, np.int64))
    playing = np.ones(num_envs, bool)
    seen, alive, actions = [observation], [playing], list[np.ndarray]()
    while len(seen) < context + horizon:
        action = player.act()
        observation, reward, terminated, truncated, _ = envs.step(action)
        step = Step(observation, np.asarray(reward, np.float32), terminated, truncated)
        player.observe(step, playing)
        seen.append(observation)
        actions.append(action)
        alive.append(playing)
        playing = playing & ~step.done
    actions.insert(0, np.zeros_like(actions[0]))  # none led to the first observation
    model = player.model
    first = np.zeros((context, num_envs), bool)
    first[0] = True
    device = next(model.parameters()).device
    prediction = model.predict(
        torch.from_numpy(np.stack(seen[:context])).to(device),
        torch.from_numpy(np.stack(actions)).to(device),
        torch.from_numpy(first).to(device),
        torch.Generator(device).manual_seed(seed),
    )
    predicted = prediction.observations.cpu().numpy()
    return OpenLoop(np.stack(seen), predicted, np.stack(alive), context, model.codec)


def _row(observations: np.ndarray, spec: ObservationSpec, zoom: int) -> np.ndarray:
    """Observations side by side as one picture."""
    if spec.channel_axis is None:
        observations = observations[..., None]
    elif spec.channel_axis == 0:
        observations = observations.transpose(0, 2, 3, 1)
    if observations.shape[-1] != 3:  # of a stack the newest frame
        observations = np.repeat(observations[..., -1:], 3, axis=-1)
    shown = np.clip(observations * (spec.scale * 255.0), 0, 255).astype(np.uint8)
    shown = shown.repeat(zoom, 1).repeat(zoom, 2)
    shown = np.pad(shown, [(0, 0), (0, 0), (0, _GAP), (0, 0)])
    return np.concatenate(list(shown), axis=1)
