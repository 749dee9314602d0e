"""What embeds the states of a recording: the run's own bonus, or any encoder with a memory beside.

Source: the episodic novelty of Never Give Up (arXiv 2002.06038), Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from ngu.autoencoders import load_vae
from ngu.moments import RunningMoments
from ngu.nets import make_trunk
from ngu.novelty.embedded import EmbeddingReward
from ngu.novelty.embedding import LastInFloat32
from ngu.novelty.kernel import episodic_novelty, kernel, normalised_distances
from ngu.novelty.memory import EpisodicMemory
from ngu.novelty.ngu import NGU, NGUConfig
from ngu.seeding import Seeds
from ngu.sentences import SettingsError
from ngu.world.convolutions import picture_shape, resized
from ngu_agents.latent_memory import LatentFollower


class Encoded(NamedTuple):
    """What an encoder makes of B observations."""

    embedding: Float32[Tensor, "B D"]
    std: Float32[Tensor, "B D"] | None = None
    """Standard deviation of the posterior, where the embedding is the mean of one."""


Encoder = Callable[[np.ndarray], Encoded]
"""Embeds observations [B, ...]."""

RANDOM_SIZE = 32
"""Dimensions of a random network's embedding, as Never Give Up's."""


class Near(NamedTuple):
    """What states of E environments were compared with; the fields are those of `Neighbours`."""

    step: Int64[np.ndarray, "E K"]
    squared_distance: Float32[np.ndarray, "E K"]
    kernel: Float32[np.ndarray, "E K"]


def nothing_near(num_envs: int, count: int) -> Near:
    """As many neighbours, of which there is none."""
    shape = (num_envs, count)
    return Near(np.full(shape, -1), np.full(shape, np.inf, np.float32), np.zeros(shape, np.float32))


class Embedded(NamedTuple):
    """States of E environments."""

    embedding: Float32[np.ndarray, "E D"]
    near: Near | None = None
    """Their nearest neighbours, with values where a state was reached by a step."""
    figures: dict[str, np.ndarray] = {}  # noqa: RUF012  # nothing ever changes it
    """Figures [E] by name of the states reached by a step."""
    std: Float32[np.ndarray, "E D"] | None = None
    """Standard deviation of the posterior, where the embedding is the mean of one."""


@runtime_checkable
class Embedder(Protocol):
    """Embeds what E environments observe, step after step."""

    told: str
    """What embeds."""

    def embed(self, observation: np.ndarray, reached: np.ndarray) -> Embedded:
        """Embed observations [E, ...].

        Args:
            observation: of all environments.
            reached: True [E] where a step led there, False where an episode begins.
        """
        ...


class BonusEmbedder:
    """The embedding that a bonus measures in; asked after the bonus has scored the states.

    Args:
        bonus: of the run.
        latents: makes what the bonus sees of observations; None where it sees them as they are.
    """

    def __init__(self, bonus: EmbeddingReward, latents: LatentFollower | None = None) -> None:
        self._bonus, self._latents = bonus, latents
        learned = "inverse dynamics" if bonus.inverse_dynamics is not None else "a random network"
        kind = learned if latents is None else "the world model's states"
        self.told = f"{kind}, what the bonus {type(bonus).__name__} measures in"

    def embed(self, observation: np.ndarray, reached: np.ndarray) -> Embedded:
        """Embed observations; with the neighbours that NGU paid by, where an episode has them."""
        seen = observation if self._latents is None else self._latents.latents
        embedding = self._bonus.embed(seen)
        if not isinstance(self._bonus, NGU) or self._bonus.config.episodes_per_memory != 1:
            return Embedded(embedding)
        if not reached.any():
            return Embedded(embedding, nothing_near(len(reached), self._bonus.config.neighbours))
        explained = self._bonus.explanation()
        near = (explained.neighbours, explained.squared_distances, explained.kernel)
        return Embedded(embedding, Near(*(part.cpu().numpy() for part in near)))


class EncoderEmbedder:
    """Any encoder, with the episodic novelty that Never Give Up would find in its embedding.

    Args:
        encoder: embeds.
        told: what it is.
        num_envs: environments E.
        size: width of its embedding, D.
    """

    def __init__(self, encoder: Encoder, told: str, num_envs: int, size: int) -> None:
        self.told = told
        self._encoder, self._config = encoder, NGUConfig()
        config = self._config
        self._memory = EpisodicMemory(num_envs, size, config.memory_capacity, config.neighbours)
        window = config.statistics_window * config.neighbours
        self._distances = RunningMoments((), torch.device("cpu"), window)

    @torch.no_grad()
    def embed(self, observation: np.ndarray, reached: np.ndarray) -> Embedded:
        """Embed observations, compare those reached with their episode, remember all."""
        encoded, config = self._encoder(observation), self._config
        embedding = encoded.embedding.cpu()
        distances, steps = self._memory.neighbours(embedding, reached)
        self._distances.update(distances[distances.isfinite()])
        shape = {"epsilon": config.epsilon, "cluster_distance": config.cluster_distance}
        mean = self._distances.mean.float()
        values = kernel(normalised_distances(distances, mean), **shape)
        novelty = episodic_novelty(
            distances,
            mean,
            **shape,
            pseudo_count=config.pseudo_count,
            max_similarity=config.max_similarity,
        )
        self._memory.clear(~reached)
        self._memory.add(embedding)
        near = Near(steps.numpy(), distances.numpy(), values.numpy())
        std = None if encoded.std is None else encoded.std.cpu().numpy()
        return Embedded(embedding.numpy(), near, {"episodic_novelty": novelty.numpy()}, std)


def random_embedder(
    space: gymnasium.Space[np.ndarray], num_envs: int, *, seed: int, device: torch.device
) -> EncoderEmbedder:
    """A random network of the kind that Never Give Up embeds with.

    Args:
        space: of one environment's observations.
        num_envs: environments E.
        seed: of its weights.
        device: where it computes.

    Raises:
        TypeError: it cannot read such observations; says what would.
    """
    generator = Seeds(seed).torch("random embedding")
    trunk = make_trunk(space, generator=generator)
    network = LastInFloat32(trunk, RANDOM_SIZE, generator=generator).to(device)

    def encode(observation: np.ndarray) -> Encoded:
        return Encoded(network(torch.from_numpy(observation).to(device)))

    return EncoderEmbedder(encode, f"a random network, seed {seed}", num_envs, RANDOM_SIZE)


def vae_embedder(
    path: Path, space: gymnasium.Space[np.ndarray], num_envs: int, *, device: torch.device
) -> EncoderEmbedder:
    """The posterior means of a saved autoencoder.

    Args:
        path: of the autoencoder, or the folder of a run that has one, see `load_vae`.
        space: of one environment's observations, brought to the autoencoder's size.
        num_envs: environments E.
        device: where it computes.

    Raises:
        SettingsError: it is no autoencoder, or one of other pictures.
        DamagedCheckpoint: its file is damaged, or none of ours.
        OSError: it cannot be read.
    """
    vae, file = load_vae(path)
    vae.to(device).requires_grad_(False)
    shape = picture_shape(vae.observation_shape)
    size = shape.height if shape.height == shape.width else None
    observed = space.shape or ()
    fits = space.dtype == np.uint8 and len(observed) in (2, 3)
    if fits:
        blank = resized(np.zeros((1, *observed), np.uint8), size)
        fits = blank.shape[1:] == vae.observation_shape
    if not fits:
        raise SettingsError(
            f"{file} embeds pictures of shape {list(vae.observation_shape)}, which observations "
            f"{space} cannot be brought to"
        )

    def encode(observation: np.ndarray) -> Encoded:
        posterior = vae.encode(torch.from_numpy(resized(observation, size)).to(device))
        return Encoded(posterior.mean, posterior.std)

    told = f"posterior means of the autoencoder {file.parent.name}/{file.name}"
    return EncoderEmbedder(encode, told, num_envs, vae.config.latent_dim)
