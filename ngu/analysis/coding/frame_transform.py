"""The networks between an autoencoder's features and the numbers that are coded of a picture.

Source: Jia et al., "Generative Latent Coding" (CVPR 2024), stage II: an analysis transform of the
features, a hyperprior, a synthesis transform, and a predictor of the code words. What differs: they
begin as the features' principal components; the hyperprior belongs to the picture as a whole, as it
is to tell which screen of a game it is; where in the picture a block is, is known to the context
model, as a game's screens are always in the same place.

Shapes: B pictures, F features, h x w places of 8 x 8 pixels, r x c blocks of 2 x 2 places, D
coordinates of a block, M numbers of the hyperprior, K code words.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import convolution, linear
from ngu.world.vq_vae import VQVAE, Residual

HYPER = 8
"""Numbers of a picture's hyperprior M."""
_HYPER_HIDDEN = 64
_MOST_HYPER = 15


class FrameTransform(nn.Module):
    """Pictures to coordinates of blocks and back, by way of an autoencoder's features.

    Args:
        vqvae: encoder, codebook and decoder.
        dim: coordinates of a block D.
        generator: draws the weights; a CPU one.
    """

    def __init__(self, vqvae: VQVAE, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        features = vqvae.config.features
        self.vqvae, self.dim = vqvae, dim
        self.grid = (vqvae.places[0] // 2, vqvae.places[1] // 2)
        blocks = self.grid[0] * self.grid[1]
        self.analysis = nn.Sequential(
            convolution(4 * features, dim, 1, generator=generator),
            Residual(dim, generator=generator),
        )
        self.synthesis = nn.Sequential(
            Residual(dim, generator=generator),
            convolution(dim, 4 * features, 1, generator=generator),
            nn.PixelShuffle(2),
            Residual(features, generator=generator),
        )
        self.predictor = convolution(features, vqvae.config.words, 1, generator=generator)
        last = linear(_HYPER_HIDDEN, HYPER, generator=generator)
        self.hyper = nn.Sequential(
            linear(blocks * dim, _HYPER_HIDDEN, generator=generator),
            nn.ReLU(inplace=True),
            last,
        )
        nn.init.zeros_(last.weight)

    @torch.no_grad()
    def begin(self, features: Float[Tensor, "B F h w"]) -> None:
        """Begin with principal components of 2 x 2 places, and words as the codebook has them."""
        groups = functional.pixel_unshuffle(features, 2).permute(0, 2, 3, 1)
        flat = groups.reshape(-1, groups.shape[-1])
        mean = flat.mean(0)
        centred = flat - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred / len(flat))
        components = vectors[:, -self.dim :].flip(1)
        into, out = self.analysis[0], self.synthesis[1]
        assert isinstance(into, nn.Conv2d)
        assert isinstance(out, nn.Conv2d)
        assert into.bias is not None
        assert out.bias is not None
        into.weight.copy_(components.T[:, :, None, None])
        into.bias.copy_(-(mean @ components))
        out.weight.copy_(components[:, :, None, None])
        out.bias.copy_(mean)
        words = self.vqvae.codebook
        sharpness = 1 / words.var().clamp_min(1e-6)
        assert self.predictor.bias is not None
        self.predictor.weight.copy_((sharpness * words)[:, :, None, None])
        self.predictor.bias.copy_(-sharpness / 2 * words.square().sum(1))

    def analyse(self, features: Float[Tensor, "B F h w"]) -> Float[Tensor, "B r c D"]:
        """Coordinates of the blocks of a picture's features, float32."""
        groups = functional.pixel_unshuffle(features, 2)
        coordinates = self.analysis(groups.contiguous(memory_format=torch.channels_last))
        return coordinates.float().permute(0, 2, 3, 1)

    def synthesise(self, coordinates: Float[Tensor, "B r c D"]) -> Float[Tensor, "B F h w"]:
        """Features of coordinates, float32."""
        return self.synthesis(coordinates.permute(0, 3, 1, 2)).float()

    def hyperprior(self, scores: Float[Tensor, "B r c D"]) -> Float[Tensor, "B M"]:
        """What is told of a picture first, before rounding."""
        return self.hyper(scores.flatten(1)).float()

    def hyper_integers(self, scores: Float[Tensor, "B r c D"]) -> Tensor:
        """The same as integers [B, M]."""
        return self.hyperprior(scores).round().clamp(-_MOST_HYPER, _MOST_HYPER).long()

    def words(self, features: Float[Tensor, "B F h w"]) -> Float[Tensor, "B K h w"]:
        """Logits of the code word of each place."""
        return self.predictor(features).float()


def neighbours(scores: Float[Tensor, "B r c D"]) -> Float[Tensor, "B r c N"]:
    """Scores of the blocks to the west, north-west, north and north-east; 0 outside; N = 4 D."""
    rows, columns = scores.shape[1:3]
    padded = functional.pad(scores, (0, 0, 1, 1, 1, 0))
    west = padded[:, 1:, :columns]
    above = [padded[:, :rows, first : first + columns] for first in range(3)]
    return torch.cat((west, *above), dim=-1)
