"""A variational autoencoder of pictures: what is seen in a few numbers, and back.

Sources: Kingma and Welling, "Auto-Encoding Variational Bayes" (arXiv 1312.6114); Ha and
Schmidhuber, "World Models" (arXiv 1803.10122), appendix A.1, whose sizes and loss are the defaults;
Higgins et al., "beta-VAE" (ICLR 2017); the discretised logistic of Kingma et al., "Improving
Variational Inference with Inverse Autoregressive Flow" (arXiv 1606.04934), section 5.

Shapes: B pictures, Z latent dimensions, D numbers in a picture.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import linear
from ngu.state_file import load_tree, save_tree
from ngu.world.convolutions import (
    PictureDecoder,
    PictureEncoder,
    channels_first,
    picture_shape,
)
from ngu.world.distributions import Gaussian, sample_gaussian

_GAUSSIAN_VARIANCE = 0.5
_LEVELS = 256


class Bound(NamedTuple):
    """The evidence lower bound of each picture and its parts, in nats."""

    log_likelihood: Float[Tensor, " B"]
    """Of the picture, given a sample of its posterior."""
    kl: Float[Tensor, "B Z"]
    """Divergence of each dimension's posterior from the standard normal prior."""

    @property
    def evidence(self) -> Float[Tensor, " B"]:
        """The lower bound on log p(picture)."""
        return self.log_likelihood - self.kl.sum(-1)


@dataclass(frozen=True)
class VAEConfig:
    """What the autoencoder looks like and what it is trained for."""

    latent_dim: int = 32
    """Latent dimensions Z."""
    filters: int = 32
    """Of the first convolution and the last but one; half as many are a quarter of the weights."""
    likelihood: Literal["gaussian", "logistic"] = "gaussian"
    """Of a picture: Gaussian of variance 1/2, whose logarithm is the squared error and a constant;
    or a discretised logistic whose scale is learned, which gives true bits."""
    beta: float = 1.0
    """Weight of the divergence in the loss."""
    free_nats: float = 16.0
    """Divergence of a picture that costs nothing (World Models: 0.5 for each latent dimension)."""

    def __post_init__(self) -> None:
        for name in ("latent_dim", "filters"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.likelihood not in ("gaussian", "logistic"):
            raise ValueError(
                f"likelihood must be 'gaussian' or 'logistic', got {self.likelihood!r}"
            )
        for name in ("beta", "free_nats"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


class ConvVAE(nn.Module):
    """The autoencoder.

    Pictures are bytes [B, H, W, C], [B, C, H, W] or [B, H, W], at least 16 x 16. Under
    `torch.autocast` the convolutions run in its type; posterior, bound and loss are float32.

    Args:
        observation_shape: of one picture.
        config: sizes and loss.
        generator: draws the weights; a CPU one. Global random state is not touched.

    Raises:
        ValueError: the shape is of no picture, or smaller than 16 x 16.
    """

    def __init__(
        self,
        observation_shape: tuple[int, ...] = (64, 64, 3),
        config: VAEConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.observation_shape = tuple(int(n) for n in observation_shape)
        self.config = config = VAEConfig() if config is None else config
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        shape = picture_shape(self.observation_shape)
        self.encoder = PictureEncoder(shape, filters=config.filters, generator=generator)
        self.moments = linear(
            self.encoder.out_features, 2 * config.latent_dim, generator=generator, gain=1.0
        )
        self.decoder = PictureDecoder(
            config.latent_dim, shape, filters=config.filters, generator=generator
        )
        self.log_scale = nn.Parameter(torch.full((shape.channels, 1, 1), math.log(0.05)))
        self.log_scale.requires_grad_(config.likelihood == "logistic")
        self.dimensions = math.prod(self.observation_shape)

    def check(self, pictures: object) -> UInt8[Tensor, "B ..."]:
        """Return pictures as they are, or raise.

        Raises:
            TypeError: they are no tensor of bytes.
            ValueError: they have another shape than ``observation_shape``.
        """
        if not isinstance(pictures, Tensor) or pictures.dtype != torch.uint8:
            kind = pictures.dtype if isinstance(pictures, Tensor) else type(pictures).__name__
            raise TypeError(f"pictures must be a tensor of dtype uint8, got {kind}")
        if tuple(pictures.shape[1:]) != self.observation_shape:
            expected = ", ".join(map(str, self.observation_shape))
            raise ValueError(
                f"pictures must have shape [B, {expected}], got {list(pictures.shape)}"
            )
        return pictures

    def encode(self, pictures: UInt8[Tensor, "B ..."]) -> Gaussian:
        """The posterior of each picture."""
        pictures = channels_first(self.check(pictures))
        mean, log_std = self.moments(self.encoder(self._scaled(pictures))).float().chunk(2, dim=-1)
        return Gaussian(mean, log_std.exp())

    def decode(self, latents: Float[Tensor, "B Z"]) -> UInt8[Tensor, "B ..."]:
        """The likeliest pictures of latents, as bytes shaped as observations are."""
        unit = self.decoder(latents)
        pictures = (unit.clamp(0, 1) * 255).round_().to(torch.uint8)
        if len(self.observation_shape) == 2:
            return pictures.squeeze(1)
        first = self.observation_shape[0] <= self.observation_shape[2]
        return pictures if first else pictures.permute(0, 2, 3, 1)

    def bound(
        self, pictures: UInt8[Tensor, "B ..."], *, generator: torch.Generator | None = None
    ) -> Bound:
        """The evidence lower bound, by one sample of each posterior.

        Args:
            pictures: [B, ...].
            generator: of the samples, on the pictures' device; None takes the posteriors' means.
        """
        posterior = self.encode(pictures)
        latents = sample_gaussian(posterior, generator)
        mean = self.decoder(latents)
        shown = channels_first(pictures).float() / 255
        if self.config.likelihood == "gaussian":
            log_likelihood = gaussian_log_likelihood(shown, mean)
        else:
            log_likelihood = logistic_log_likelihood(shown, mean, self.log_scale)
        return Bound(log_likelihood, kl_divergence(posterior))

    def loss(self, bound: Bound) -> Float[Tensor, ""]:
        """What training makes small: -log likelihood + beta max(KL, free nats), a picture's mean.

        The constant of the Gaussian is left out: what is left is the squared error.
        """
        kl = bound.kl.sum(-1).clamp_min(self.config.free_nats)
        return (self.config.beta * kl - bound.log_likelihood).mean() + self._constant

    def bits_per_dimension(self, evidence: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Bits that each number of a picture costs by this bound.

        The Gaussian's is a density of numbers in [0, 1], of which a byte is 1/256.
        """
        bits = -evidence / (self.dimensions * math.log(2))
        return bits + math.log2(_LEVELS) if self.config.likelihood == "gaussian" else bits

    def save(self, path: str | Path) -> None:
        """Write weights and config to one safetensors file.

        Raises:
            OSError: it cannot be written; a file that was there stays.
        """
        state = {
            "kind": "ngu.world.vae",
            "observation_shape": list(self.observation_shape),
            "config": dataclasses.asdict(self.config),
            "weights": self.state_dict(),
        }
        save_tree(Path(path), state)

    @classmethod
    def load(cls, path: str | Path) -> ConvVAE:
        """The autoencoder that `save` wrote; runs no code from the file.

        Raises:
            OSError: there is no such file.
            DamagedCheckpoint: it is damaged, or none of ours.
            ValueError: it holds something else, or an autoencoder of another version.
        """
        state: Any = load_tree(Path(path))
        if not isinstance(state, dict) or state.get("kind") != "ngu.world.vae":
            found = sorted(map(str, state)) if isinstance(state, dict) else "none"
            raise ValueError(f"{path} holds no autoencoder: its keys are {found}")
        try:
            vae = cls(tuple(state["observation_shape"]), VAEConfig(**state["config"]))
            vae.load_state_dict(state["weights"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"{path} holds an autoencoder of another version, which does not fit this one"
            ) from error
        return vae

    @property
    def _constant(self) -> float:
        if self.config.likelihood == "logistic":
            return 0.0
        return -0.5 * self.dimensions * math.log(2 * math.pi * _GAUSSIAN_VARIANCE)

    def _scaled(self, pictures: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Pictures in [0, 1], of the type and in the memory that the convolutions compute in."""
        weight = self.moments.weight
        dtype = weight.dtype
        if torch.is_autocast_enabled(weight.device.type):
            dtype = torch.get_autocast_dtype(weight.device.type)
        return pictures.contiguous(memory_format=torch.channels_last).to(dtype) * (1 / 255)


def kl_divergence(posterior: Gaussian) -> Float[Tensor, "B Z"]:
    """KL(N(mean, std^2) || N(0, 1)) of each dimension in nats, in closed form.

    1/2 (mean^2 + std^2 - ln std^2 - 1), Kingma and Welling, appendix B.
    """
    variance = posterior.std.square()
    return 0.5 * (posterior.mean.square() + variance - variance.log() - 1)


def gaussian_log_likelihood(
    pictures: Float[Tensor, "B C H W"], mean: Float[Tensor, "B C H W"]
) -> Float[Tensor, " B"]:
    """Return log N(picture; mean, 1/2) in nats: minus the squared error, and a constant."""
    error = (pictures - mean).square().flatten(1).sum(-1)
    constant = 0.5 * math.log(2 * math.pi * _GAUSSIAN_VARIANCE) * mean[0].numel()
    return -error / (2 * _GAUSSIAN_VARIANCE) - constant


def logistic_log_likelihood(
    pictures: Float[Tensor, "B C H W"],
    mean: Float[Tensor, "B C H W"],
    log_scale: Float[Tensor, "C 1 1"],
) -> Float[Tensor, " B"]:
    """Return log P(picture) in nats: a logistic's probability of each byte's bin.

    A bin is 1/255 wide around its byte's value; those of 0 and 255 are open outwards. With a and b
    the bin's ends, sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - e^(a - b)), which loses no digits.

    Args:
        pictures: bytes / 255.
        mean: of the logistic.
        log_scale: logarithm of its scale.
    """
    inverse = torch.exp(-log_scale)
    width = inverse / 255
    low = (pictures - mean) * inverse - width / 2
    high = low + width
    below = torch.where(pictures < 0.5 / 255, 0.0, functional.logsigmoid(-low))
    above = torch.where(pictures > 254.5 / 255, 0.0, functional.logsigmoid(high))
    inner = (pictures >= 0.5 / 255) & (pictures <= 254.5 / 255)
    both = torch.where(inner, torch.log(-torch.expm1(-width)), 0.0)
    return (below + above + both).flatten(1).sum(-1)


def interpolate(
    first: Float[Tensor, " Z"], last: Float[Tensor, " Z"], steps: int
) -> Float[Tensor, "S Z"]:
    """Latents on the straight line between two, both included."""
    shares = torch.linspace(0, 1, steps, device=first.device).unsqueeze(-1)
    return torch.lerp(first, last, shares)


def traverse(
    latent: Float[Tensor, " Z"], dimension: int, values: Float[Tensor, " S"]
) -> Float[Tensor, "S Z"]:
    """A latent with one dimension set to each value.

    Raises:
        IndexError: there is no such dimension.
    """
    if not 0 <= dimension < len(latent):
        raise IndexError(f"dimension must be within 0 to {len(latent) - 1}, got {dimension}")
    latents = latent.repeat(len(values), 1)
    latents[:, dimension] = values
    return latents
