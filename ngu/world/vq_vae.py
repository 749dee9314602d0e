"""Pictures as a map of code words: an autoencoder whose features are snapped to a codebook.

Sources: van den Oord et al., "Neural Discrete Representation Learning" (VQ-VAE, arXiv 1711.00937),
the codebook by moving averages of its appendix A.1; unused words are replaced by features of the
batch, as Dhariwal et al., "Jukebox" (arXiv 2005.00341) do.

Shapes: B pictures, C channels, H x W pixels, F features, h x w places of 8 x 8 pixels, K words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import convolution
from ngu.world.convolutions import channels_first, picture_shape

STRIDE = 8
"""Pixels that a place is high and wide."""
_GRAIN = 16
"""Pictures are padded to multiples of this, so that the map of places can be halved once more."""


@dataclass(frozen=True)
class VQVAEConfig:
    """What the autoencoder looks like."""

    features: int = 64
    """Features F of each place."""
    words: int = 1024
    """Code words K."""
    commitment: float = 0.25
    """Weight of the features' distance to their words (beta of VQ-VAE's equation 3)."""
    decay: float = 0.99
    """Of the moving averages that the words are."""

    def __post_init__(self) -> None:
        for name in ("features", "words"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be between 0 and 1, got {self.decay}")
        if not 0 <= self.commitment < math.inf:
            raise ValueError(f"commitment must be at least 0, got {self.commitment}")


class Snapped(NamedTuple):
    """Features on the codebook."""

    words: Float[Tensor, "B F h w"]
    """The nearest word of each place; its gradient goes to the features."""
    chosen: Int64[Tensor, "B h w"]
    """Which it is."""
    distance: Float[Tensor, ""]
    """Mean squared distance of the features to it, for the features to shrink."""


class VQVAE(nn.Module):
    """The autoencoder; pictures are bytes [B, H, W, C], [B, C, H, W] or [B, H, W].

    Args:
        observation_shape: of one picture.
        config: sizes.
        generator: draws the weights; a CPU one.

    Raises:
        ValueError: the shape is of no picture, or smaller than 16 x 16.
    """

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        config: VQVAEConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.observation_shape = tuple(int(n) for n in observation_shape)
        self.config = config = VQVAEConfig() if config is None else config
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        self.shape = shape = picture_shape(self.observation_shape)
        padded = [-(-side // _GRAIN) * _GRAIN for side in (shape.height, shape.width)]
        self._padding = (0, padded[1] - shape.width, 0, padded[0] - shape.height)
        self.places = (padded[0] // STRIDE, padded[1] // STRIDE)
        features = config.features
        numbers = shape.channels * STRIDE**2
        self.mean = nn.Parameter(torch.zeros(shape.channels, *padded))
        self.encoder = nn.Sequential(
            convolution(numbers, features, 1, generator=generator),
            Residual(features, generator=generator),
            Residual(features, generator=generator),
        )
        self.decoder = nn.Sequential(
            Residual(features, generator=generator),
            Residual(features, generator=generator),
            Residual(features, generator=generator),
            convolution(features, numbers, 1, generator=generator),
        )
        scale = torch.randn(config.words, features, generator=generator)
        self.register_buffer("codebook", scale)
        self.register_buffer("counts", torch.ones(config.words))
        self.register_buffer("sums", scale.clone())
        self.codebook: Tensor
        self.counts: Tensor
        self.sums: Tensor

    @torch.no_grad()
    def begin(self, pictures: UInt8[Tensor, "B ..."], *, generator: torch.Generator) -> None:
        """Begin where linear methods end, which saves most of the training.

        The mean picture is what is decoded of nothing; encoder and decoder are the principal
        components of blocks of pixels; the words are the means of their clusters (Lloyd, 1957).

        Args:
            pictures: some hundreds.
            generator: of the first words.
        """
        padded = functional.pad(self.scaled(pictures), self._padding)
        self.mean.copy_(padded.mean(0))
        blocks = functional.pixel_unshuffle(padded - self.mean, STRIDE).permute(0, 2, 3, 1)
        flat = blocks.reshape(-1, blocks.shape[-1])
        _, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        components = vectors[:, -self.config.features :].flip(1)
        embed, unembed = self.encoder[0], self.decoder[-1]
        assert isinstance(embed, nn.Conv2d)
        assert isinstance(unembed, nn.Conv2d)
        embed.weight.copy_(components.T[:, :, None, None])
        unembed.weight.copy_(components[:, :, None, None])
        features = flat @ components
        # Most blocks are like the mean picture's: words for the others are drawn more often.
        chance = features.square().sum(1) + 1e-6
        some = features[chance.multinomial(min(len(features), 2**14), generator=generator)]
        self.codebook.copy_(
            some[torch.randperm(len(some), generator=generator)[: len(self.counts)]]
        )
        for _ in range(_LLOYD_ROUNDS):
            index = nearest_word(some, self.codebook)
            counts = torch.bincount(index, minlength=len(self.counts)).unsqueeze(1)
            sums = torch.zeros_like(self.codebook).index_add_(0, index, some)
            self.codebook.copy_(torch.where(counts > 0, sums / counts.clamp_min(1), self.codebook))
        self.sums.copy_(self.codebook)
        self.counts.fill_(1.0)

    def scaled(self, pictures: UInt8[Tensor, "B ..."]) -> Float[Tensor, "B C H W"]:
        """Pictures in [-1/2, 1/2]."""
        return channels_first(pictures).float() / 255 - 0.5

    def encode(self, pictures: UInt8[Tensor, "B ..."]) -> Float[Tensor, "B F h w"]:
        """The features of each place, float32."""
        scaled = functional.pad(self.scaled(pictures), self._padding) - self.mean.detach()
        blocks = functional.pixel_unshuffle(scaled, STRIDE)
        return self.encoder(blocks.contiguous(memory_format=torch.channels_last)).float()

    def snap(self, features: Float[Tensor, "B F h w"]) -> Snapped:
        """The nearest word of each place."""
        flat = features.permute(0, 2, 3, 1)
        index = nearest_word(flat.reshape(-1, flat.shape[-1]), self.codebook).view(flat.shape[:3])
        words = self.codebook[index]
        distance = (flat - words.detach()).square().mean()
        return Snapped((flat + (words - flat).detach()).permute(0, 3, 1, 2), index, distance)

    def decode(self, words: Float[Tensor, "B F h w"]) -> Float[Tensor, "B C H W"]:
        """Pictures of about -1/2 to 1/2, float32."""
        blocks = self.decoder(words.contiguous(memory_format=torch.channels_last)).float()
        pictures = functional.pixel_shuffle(blocks, STRIDE) + self.mean
        return pictures[:, :, : self.shape.height, : self.shape.width]

    def shown(self, decoded: Float[Tensor, "B C H W"]) -> UInt8[Tensor, "B ..."]:
        """Decoded pictures as bytes, shaped as observations are."""
        pictures = ((decoded + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        if len(self.observation_shape) == 2:
            return pictures.squeeze(1)
        first = self.observation_shape[0] <= self.observation_shape[2]
        return pictures if first else pictures.permute(0, 2, 3, 1)

    def loss(self, pictures: UInt8[Tensor, "B ..."]) -> Float[Tensor, ""]:
        """Mean squared error and commitment (equation 3); the codebook follows by averages.

        The second half of the pictures is decoded from the features themselves, so that these stay
        good for more than to find words by (as Kumar et al., arXiv 2306.06546, leave quantisers
        out).
        """
        features = self.encode(pictures)
        snapped = self.snap(features)
        half = (len(features) + 1) // 2
        shown = torch.cat((snapped.words[:half], features[half:]))
        error = (self.decode(shown) - self.scaled(pictures)).square().mean()
        self.follow(features.detach(), snapped.chosen)
        return error + self.config.commitment * _COMMITMENT_SCALE * snapped.distance

    @torch.no_grad()
    def follow(self, features: Float[Tensor, "B F h w"], index: Int64[Tensor, "B h w"]) -> None:
        """Move the words to the averages of the features that they stood for.

        A word that stands for hardly anything is put where a feature of this batch is, the ones
        that are farthest from their words first.
        """
        flat = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
        chosen = index.reshape(-1)
        decay, words = self.config.decay, self.config.words
        counts = torch.bincount(chosen, minlength=words).float()
        sums = torch.zeros_like(self.sums).index_add_(0, chosen, flat)
        self.counts.mul_(decay).add_(counts, alpha=1 - decay)
        self.sums.mul_(decay).add_(sums, alpha=1 - decay)
        self.codebook.copy_(self.sums / self.counts.clamp_min(1e-5).unsqueeze(1))
        unused = (self.counts < _UNUSED).nonzero().squeeze(1)
        if len(unused):
            distance = (flat - self.codebook[chosen]).square().sum(1)
            far = distance.topk(min(len(flat), 8 * len(unused))).indices[::8][: len(unused)]
            unused = unused[: len(far)]
            self.codebook[unused] = flat[far]
            self.sums[unused] = flat[far]
            self.counts[unused] = 1.0


class Residual(nn.Module):
    """x + a convolution of 3 x 3 to half the features and one of 1 x 1 back."""

    def __init__(self, features: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.narrow = convolution(features, features // 2, 3, 1, 1, generator=generator)
        self.wide = convolution(features // 2, features, 1, generator=generator)
        with torch.no_grad():
            self.wide.weight.zero_()

    def forward(self, x: Float[Tensor, "B F h w"]) -> Float[Tensor, "B F h w"]:
        """The features and what is added to them."""
        return x + self.wide(self.narrow(x.relu()).relu())


def nearest_word(
    features: Float[Tensor, "N F"], codebook: Float[Tensor, "K F"]
) -> Int64[Tensor, " N"]:
    """The word of least squared distance to each feature (VQ-VAE, equation 1)."""
    return torch.addmm(codebook.square().sum(1), features, codebook.T, alpha=-2).argmin(1)


_UNUSED = 0.02
_LLOYD_ROUNDS = 15
_COMMITMENT_SCALE = 0.005
"""Errors of pictures are far smaller than those of features."""
