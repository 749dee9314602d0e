"""Pictures as code words, each told by its place and by the words that are known already.

Source: a network of its own as the prior over a map of words, van den Oord et al., "Neural Discrete
Representation Learning" (VQ-VAE, arXiv 1711.00937, section 3.2). What differs: screens do not move,
so that each place has its own weights; and all words before are told as a sum, which tells rooms
apart.

Encoder and decoder must get the same odds to the last bit: weights and activations are multiples of
powers of 1/2 (see `ngu.analysis.coding.context_model`), and exponentials are looked up.

Shapes: B pictures, h x w places, P of them, K code words, S neighbours, U hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ngu.analysis.coding import bitstream
from ngu.analysis.coding.context_model import exact_weights, on_grid
from ngu.world.vq_vae import VQVAE

_MAGIC = b"Nw"
_NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
"""Rows down and columns to the right of the words that are seen one by one."""
_MARGIN = 2
_UNITS = 128
_SUM_SCALE = 2.0**-4
"""Of what a word adds to the sum: there are hundreds of them."""
_UNSEEN = 0.01
"""Times that a word counts as seen in a place where it never was."""
_FINENESS = 64
"""Logits are rounded to one over this."""
_ODDS = np.array([max(1, round(2.0**24 * math.exp(-k / _FINENESS))) for k in range(1200)], float)
"""Of a logit so far below the greatest one; integers, which no library's last bit can change."""


class WordModel(nn.Module):
    """Logits of each place's word, as they are trained.

    Args:
        places: rows h and columns w.
        words: code words K.
        generator: draws the weights; a CPU one.
    """

    def __init__(self, places: tuple[int, int], words: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.places, self.words = places, words
        count = math.prod(places)
        tables = (len(_NEIGHBOURS), words + 1, _UNITS)
        self.beside = nn.Parameter(0.1 * torch.randn(tables, generator=generator))
        self.before = nn.Parameter(0.1 * torch.randn(words, _UNITS, generator=generator))
        self.place = nn.Parameter(0.1 * torch.randn(count, _UNITS, generator=generator))
        self.out = nn.Parameter(torch.zeros(_UNITS, words))
        self.bias = nn.Parameter(torch.zeros(count, words))

    @torch.no_grad()
    def begin(self, chosen: Int64[Tensor, "B h w"]) -> None:
        """Begin with the words' shares in each place."""
        at = chosen.flatten(1).T.contiguous()
        counts = torch.full_like(self.bias, _UNSEEN).scatter_add_(1, at, torch.ones(at.shape))
        self.bias.copy_((counts / counts.sum(1, keepdim=True)).log())

    def forward(self, chosen: Int64[Tensor, "B h w"]) -> Float[Tensor, "B P K"]:
        """Logits of all places at once, for who knows all words."""
        rows, columns = self.places
        padded = functional.pad(chosen, (_MARGIN, _MARGIN, _MARGIN, 0), value=self.words)
        seen = [
            padded[:, _MARGIN + down :, _MARGIN + right :][:, :rows, :columns]
            + number * (self.words + 1)
            for number, (down, right) in enumerate(_NEIGHBOURS)
        ]
        index = torch.stack(seen, dim=-1).view(-1, len(_NEIGHBOURS))
        hidden = functional.embedding_bag(index, self.beside.flatten(0, 1), mode="sum")
        told = functional.embedding(chosen.flatten(1), self.before) * _SUM_SCALE
        before = functional.pad(told.cumsum(1)[:, :-1], (0, 0, 1, 0))
        hidden = (hidden.view(before.shape) + before + self.place).relu()
        return hidden @ self.out + self.bias

    def exact(self) -> ExactWordModel:
        """The same, whose sums are exact."""
        arrays = (self.beside, self.before * _SUM_SCALE, self.place, self.out, self.bias)
        return ExactWordModel(self.places, self.words, *map(exact_weights, arrays))


@dataclass(frozen=True)
class ExactWordModel:
    """The network whose sums are exact."""

    places: tuple[int, int]
    """Rows h and columns w."""
    words: int
    """Code words K."""
    beside: Float64[np.ndarray, "S K1 U"]
    """Of each neighbour's word; the last one is for none."""
    before: Float64[np.ndarray, "K U"]
    """What a word adds for all places after its own."""
    place: Float64[np.ndarray, "P U"]
    """Of each place."""
    out: Float64[np.ndarray, "U K"]
    """Hidden units to logits."""
    bias: Float64[np.ndarray, "P K"]
    """Of the logits."""

    def odds(self, chosen: Int64[np.ndarray, "B h w"]) -> Float64[np.ndarray, "B P K"]:
        """What the words of each place are written by, for who knows all of them."""
        reader = Reader(self, len(chosen))
        found = np.empty((len(chosen), math.prod(self.places), self.words))
        for place, words in enumerate(chosen.reshape(len(chosen), -1).T):
            found[:, place] = reader.odds()
            reader.tell(words)
        return found


class Reader:
    """Gives odds place after place, to who learns of one word after the other."""

    def __init__(self, model: ExactWordModel, count: int) -> None:
        rows, columns = model.places
        self._model = model
        self._map = np.full((count, rows + _MARGIN, columns + 2 * _MARGIN), model.words)
        self._before = np.zeros((count, model.before.shape[1]))
        self._place = 0

    def odds(self) -> Float64[np.ndarray, "B K"]:
        """Of the next place's words."""
        model, place = self._model, self._place
        row, column = self._at()
        hidden = self._before + model.place[place]
        for table, (down, right) in zip(model.beside, _NEIGHBOURS, strict=True):
            hidden += table[self._map[:, row + down, column + right]]
        logits = on_grid(np.maximum(hidden, 0)) @ model.out + model.bias[place]
        below = np.rint((logits.max(1, keepdims=True) - logits) * _FINENESS).astype(np.int64)
        return _ODDS[np.minimum(below, len(_ODDS) - 1)]

    def tell(self, words: Int64[np.ndarray, " B"]) -> None:
        """What the next place turned out to be."""
        self._map[:, *self._at()] = words
        self._before += self._model.before[words]
        self._place += 1

    def _at(self) -> tuple[int, int]:
        row, column = divmod(self._place, self._model.places[1])
        return row + _MARGIN, column + _MARGIN


@dataclass(frozen=True)
class WordCode:
    """Pictures to files of their words and back."""

    vqvae: VQVAE
    """Pictures to words and back."""
    model: ExactWordModel
    """Of the words."""

    @torch.no_grad()
    def quantise(self, pictures: UInt8[Tensor, "B ..."]) -> Int64[np.ndarray, "B h w"]:
        """The words of pictures."""
        return self.vqvae.snap(self.vqvae.encode(pictures)).chosen.numpy()

    @torch.no_grad()
    def reconstruct(self, chosen: Int64[np.ndarray, "B h w"]) -> UInt8[Tensor, "B ..."]:
        """The pictures that words are decoded to."""
        words = self.vqvae.codebook[torch.from_numpy(chosen)].permute(0, 3, 1, 2)
        return self.vqvae.shown(self.vqvae.decode(words))

    def approximate(self, pictures: UInt8[Tensor, "B ..."]) -> UInt8[Tensor, "B ..."]:
        """What pictures are after they were written and read."""
        return self.reconstruct(self.quantise(pictures))

    def encode(self, pictures: UInt8[Tensor, "B ..."]) -> list[bytes]:
        """A file's bytes for each picture."""
        chosen = self.quantise(pictures)
        coders = bitstream.constriction().stream
        family = coders.model.Categorical(perfect=False)
        files = []
        for written, odds in zip(chosen, self.model.odds(chosen), strict=True):
            encoder = coders.queue.RangeEncoder()
            encoder.encode(written.reshape(-1).astype(np.int32), family, odds)
            files.append(bitstream.write_picture(_MAGIC, encoder.get_compressed()))
        return files

    def decode(self, files: Sequence[bytes]) -> Int64[np.ndarray, "B h w"]:
        """The words of files.

        Raises:
            BitstreamError: a file is damaged, cut off, or of another code.
        """
        coders = bitstream.constriction().stream
        family = coders.model.Categorical(perfect=False)
        words = [bitstream.read_picture(_MAGIC, content) for content in files]
        decoders = [coders.queue.RangeDecoder(each) for each in words]
        reader = Reader(self.model, len(files))
        chosen = np.empty((len(files), *self.model.places), dtype=np.int64)
        with bitstream.decoding():
            for row, column in np.ndindex(*self.model.places):
                found = [
                    decoder.decode(family, each[None])[0]
                    for decoder, each in zip(decoders, reader.odds(), strict=True)
                ]
                chosen[:, row, column] = found
                reader.tell(chosen[:, row, column])
        return chosen

    def bits(self, chosen: Int64[np.ndarray, "B h w"]) -> Float64[np.ndarray, " B"]:
        """The model's estimate for each picture."""
        odds = self.model.odds(chosen)
        flat = chosen.reshape(*odds.shape[:2], 1)
        shares = np.take_along_axis(odds, flat, 2)[..., 0] / odds.sum(2)
        return -np.log2(shares).sum(1) + bitstream.PICTURE_HEADER_BITS
