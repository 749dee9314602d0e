"""Code (c): coordinates of a learned transform, told by a hyperprior and by those before them.

Each state is coded by itself: nothing of the episode's states before it is used, so that what is
saved is redundancy of the embedding and not of time.

Shapes: N states, D dimensions, M numbers of the hyperprior.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from ngu.analysis.coding import bitstream
from ngu.analysis.coding.cells import Cells, quantise
from ngu.analysis.coding.context_model import ExactContextModel, Mixture, mixture
from ngu.analysis.coding.digits import BASE, digit_tables
from ngu.analysis.coding.scores import Scores
from ngu.analysis.coding.transform import Transform

_AT_ONCE = 8_192
_LEAST = 2.0**-24
"""What the range coder gives a symbol at least."""


@dataclass(frozen=True)
class LearnedCode:
    """A transform, a step, and a model of its cells; integers are [hyperprior, coordinates]."""

    transform: Transform
    """To the coordinates that are quantised."""
    step: float
    """Of all of them."""
    told_step: float
    """The step as the network is told it."""
    cells: Sequence[Cells]
    """Of each coordinate."""
    scores: Scores
    """Of these."""
    hyper_cells: Sequence[Cells]
    """Of each number of the hyperprior."""
    model: ExactContextModel
    """Of each coordinate, given the hyperprior and the coordinates before."""

    def quantise(self, embeddings: Float[np.ndarray, "N D"]) -> Int64[np.ndarray, "N MD"]:
        """The integers that are written."""
        integers = quantise(self.transform.analyse(embeddings, self.told_step), self.step)
        scores = self.scores.of(self._index(integers))
        hyper = self.transform.hyperprior(scores, self.told_step)
        for cells, column in zip(self.hyper_cells, hyper.T, strict=True):
            # What follows is told by it before escapes are read: it has none.
            np.clip(column, cells.lowest, cells.lowest + len(cells) - 3, out=column)
        return np.concatenate((hyper, integers), axis=1)

    def bits(self, integers: Int64[np.ndarray, "N MD"]) -> Float64[np.ndarray, "N MD"]:
        """The model's estimate for each number of each state."""
        hyper, numbers = np.split(integers, [len(self.hyper_cells)], axis=1)
        bits = bitstream.excess_bits([*self.hyper_cells, *self.cells], integers)
        for place, cells in enumerate(self.hyper_cells):
            bits[:, place] -= np.log2(cells.probabilities[cells.index(hyper[:, place])])
        index = self._index(numbers)
        low, high = self.scores.low(index), self.scores.high(index)
        found = self._mixture(hyper, index)
        both = torch.from_numpy(np.stack((low, high), axis=-1))
        below = found.below(both).numpy()
        mass = np.maximum(below[..., 1] - below[..., 0], _LEAST)
        bits[:, len(self.hyper_cells) :] -= np.log2(mass)
        return bits

    def reconstruct(self, integers: Int64[np.ndarray, "N MD"]) -> Float64[np.ndarray, "N D"]:
        """The embeddings that integers are decoded to."""
        numbers = integers[:, len(self.hyper_cells) :]
        columns = [
            cells.decoded(column, cells.index(column))
            for cells, column in zip(self.cells, numbers.T, strict=True)
        ]
        return self.transform.synthesise(np.stack(columns, axis=1), self.told_step)

    def innovations(self, embeddings: Float[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """What is new in each coordinate, given those before: standard normal numbers.

        They are independent as far as the model goes, and so what is left of an embedding when
        all that its dimensions share is taken out.
        """
        parts = [embeddings[i : i + _AT_ONCE] for i in range(0, len(embeddings), _AT_ONCE)]
        return np.concatenate([self._innovations(part) for part in parts])

    def _innovations(self, embeddings: Float[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        hyper, numbers = np.split(self.quantise(embeddings), [len(self.hyper_cells)], axis=1)
        index = self._index(numbers)
        both = torch.from_numpy(np.stack((self.scores.low(index), self.scores.high(index)), -1))
        middle = self._mixture(hyper, index).below(both).mean(-1)
        return torch.special.ndtri(middle.clamp(1e-6, 1 - 1e-6)).numpy()

    def encode(self, integers: Int64[np.ndarray, "N MD"]) -> bytes:
        """The bytes of a file."""
        coders = bitstream.constriction().stream
        encoder = coders.queue.RangeEncoder()
        family = coders.model.Categorical(perfect=False)
        hyper, numbers = np.split(integers, [len(self.hyper_cells)], axis=1)
        for cells, column in zip(self.hyper_cells, hyper.T, strict=True):
            own = coders.model.Categorical(cells.probabilities, perfect=False)
            encoder.encode(cells.index(column).astype(np.int32), own)
        index = self._index(numbers)
        parameters = self.model.parameters(self._inputs(hyper, index))
        for dim in range(len(self.cells)):
            high, low = np.divmod(index[:, dim], BASE)
            tables = self._tables(dim, parameters[:, dim])
            encoder.encode(high.astype(np.int32), family, next(tables))
            encoder.encode(low.astype(np.int32), family, tables.send(high))
        bitstream.encode_excesses(encoder, [*self.hyper_cells, *self.cells], integers)
        return bitstream.write(integers, encoder.get_compressed())

    def decode(self, content: bytes) -> Int64[np.ndarray, "N MD"]:
        """The integers that `encode` was given.

        Raises:
            BitstreamError: the bytes are damaged, cut off, or of another code.
        """
        all_cells = [*self.hyper_cells, *self.cells]
        header, words = bitstream.read(content, len(all_cells))
        coders = bitstream.constriction().stream
        decoder = coders.queue.RangeDecoder(words)
        family = coders.model.Categorical(perfect=False)
        many = len(self.hyper_cells)
        index = np.empty((header.rows, header.dim), dtype=np.int64)
        with bitstream.decoding():
            for place, cells in enumerate(self.hyper_cells):
                own = coders.model.Categorical(cells.probabilities, perfect=False)
                index[:, place] = decoder.decode(own, header.rows)
            hyper = [
                cells.integers(column, np.zeros_like(column))
                for cells, column in zip(self.hyper_cells, index.T[:many], strict=True)
            ]
            reader = self.model.reader(self._extra(np.stack(hyper, axis=1)))
            for dim in range(len(self.cells)):
                tables = self._tables(dim, reader.parameters())
                high = decoder.decode(family, next(tables)).astype(np.int64)
                low = decoder.decode(family, tables.send(high))
                index[:, many + dim] = high * BASE + low
                reader.tell(self.scores.middles[dim][index[:, many + dim]])
            integers = bitstream.decode_excesses(decoder, all_cells, index)
        bitstream.check(header, integers)
        return integers

    @property
    def model_numbers(self) -> int:
        """Numbers that a decoder must know: probabilities, values, synthesis and context model."""
        tables = sum(map(len, self.hyper_cells)) + 2 * sum(map(len, self.cells))
        return tables + self.transform.decoder_numbers + self.model.numbers

    def _tables(
        self, dim: int, parameters: Float64[np.ndarray, "N P"]
    ) -> Generator[Float64[np.ndarray, "N n"], Int64[np.ndarray, " N"]]:
        return digit_tables(self.scores.edges[dim, : len(self.cells[dim]) + 1], parameters)

    def _mixture(self, hyper: Int64[np.ndarray, "N M"], index: Int64[np.ndarray, "N D"]) -> Mixture:
        return mixture(torch.from_numpy(self.model.parameters(self._inputs(hyper, index))))

    def _inputs(
        self, hyper: Int64[np.ndarray, "N M"], index: Int64[np.ndarray, "N D"]
    ) -> Float64[np.ndarray, "N I"]:
        return np.concatenate((self.scores.of(index), self._extra(hyper)), axis=1)

    def _extra(self, hyper: Int64[np.ndarray, "N M"]) -> Float64[np.ndarray, "N E"]:
        return np.concatenate((hyper, np.full((len(hyper), 1), self.told_step)), axis=1)

    def _index(self, numbers: Int64[np.ndarray, "N D"]) -> Int64[np.ndarray, "N D"]:
        columns = [cells.index(each) for cells, each in zip(self.cells, numbers.T, strict=True)]
        return np.stack(columns, axis=1)
