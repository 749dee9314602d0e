"""Pictures as files of their own: a hyperprior, then block after block, told by those before.

Blocks go from left to right and from top to bottom. What a block's coordinates are expected to be
is told by the picture's hyperprior, the four blocks beside and above it, its place, and its
coordinates before. Every picture is a file that is decoded by itself; those of a batch are decoded
at the same time only because that is faster.

Shapes: B pictures, r x c blocks, D coordinates, M numbers of the hyperprior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from ngu.analysis.coding import bitstream
from ngu.analysis.coding.cells import Cells, quantise
from ngu.analysis.coding.context_model import ExactContextModel
from ngu.analysis.coding.digits import BASE, digit_tables
from ngu.analysis.coding.frame_transform import FrameTransform, neighbours
from ngu.analysis.coding.scores import Scores

_MAGIC = b"Nf"
MOST_CELLS = BASE * BASE
"""Both digits have as many values, so that a picture is coded by one call."""


@dataclass(frozen=True)
class FrameCode:
    """Networks, a step, and a model of the cells of blocks."""

    transform: FrameTransform
    """Pictures to coordinates and back."""
    step: float
    """Of the quantiser."""
    told_step: float
    """The step as the context model is told it."""
    cells: Sequence[Cells]
    """Of each coordinate."""
    scores: Scores
    """Of these."""
    hyper_cells: Sequence[Cells]
    """Of each number of the hyperprior."""
    model: ExactContextModel
    """Of each coordinate of a block."""

    @torch.no_grad()
    def quantise(
        self, pictures: UInt8[Tensor, "B ..."]
    ) -> tuple[Int64[np.ndarray, "B M"], Int64[np.ndarray, "B r c D"]]:
        """The integers that are written of pictures: the hyperprior's and the blocks'."""
        coordinates = self.transform.analyse(self.transform.vqvae.encode(pictures))
        numbers = coordinates.numpy().reshape(-1, self.transform.dim)
        integers = quantise(numbers, self.step).reshape(coordinates.shape)
        scores = torch.from_numpy(self._scores(self._index(integers))).float()
        hyper = self.transform.hyper_integers(scores).numpy()
        for cells, column in zip(self.hyper_cells, hyper.T, strict=True):
            np.clip(column, cells.lowest, cells.lowest + len(cells) - 3, out=column)
        return hyper, integers

    @torch.no_grad()
    def reconstruct(self, integers: Int64[np.ndarray, "B r c D"]) -> UInt8[Tensor, "B ..."]:
        """The pictures that blocks are decoded to."""
        index = self._index(integers)
        columns = [
            cells.decoded(integers[..., dim].reshape(-1), index[..., dim].reshape(-1))
            for dim, cells in enumerate(self.cells)
        ]
        coordinates = torch.from_numpy(np.stack(columns, 1)).float().view(integers.shape)
        vqvae = self.transform.vqvae
        return vqvae.shown(vqvae.decode(self.transform.synthesise(coordinates)))

    def approximate(self, pictures: UInt8[Tensor, "B ..."]) -> UInt8[Tensor, "B ..."]:
        """What pictures are after they were written and read."""
        return self.reconstruct(self.quantise(pictures)[1])

    def encode(self, pictures: UInt8[Tensor, "B ..."]) -> list[bytes]:
        """A file's bytes for each picture."""
        hyper, integers = self.quantise(pictures)
        index = self._index(integers)
        batch, dim = len(index), len(self.cells)
        parameters = self.model.parameters(self._inputs(hyper, index))
        digits = np.empty((batch, *self.transform.grid, dim, 2), dtype=np.int32)
        tables = np.empty((batch, *self.transform.grid, dim, 2, BASE))
        for place in range(dim):
            first, second = np.divmod(index[..., place], BASE)
            both = digit_tables(self._edges(place), parameters[:, place])
            digits[..., place, 0], digits[..., place, 1] = first, second
            tables[..., place, 0, :] = next(both).reshape(*first.shape, BASE)
            tables[..., place, 1, :] = both.send(first.reshape(-1)).reshape(*first.shape, BASE)
        coders = bitstream.constriction().stream
        family = coders.model.Categorical(perfect=False)
        files = []
        for told, blocks, written, odds in zip(hyper, integers, digits, tables, strict=True):
            encoder = coders.queue.RangeEncoder()
            for cells, number in zip(self.hyper_cells, told.tolist(), strict=True):
                own = coders.model.Categorical(cells.probabilities, perfect=False)
                encoder.encode(int(cells.index(np.array([number]))[0]), own)
            encoder.encode(written.reshape(-1), family, odds.reshape(-1, BASE))
            bitstream.encode_excesses(encoder, self.cells, blocks.reshape(-1, dim))
            files.append(bitstream.write_picture(_MAGIC, encoder.get_compressed()))
        return files

    def decode(self, files: Sequence[bytes]) -> Int64[np.ndarray, "B r c D"]:
        """The blocks' integers of files.

        Raises:
            BitstreamError: a file is damaged, cut off, or of another code.
        """
        coders = bitstream.constriction().stream
        family = coders.model.Categorical(perfect=False)
        words = [bitstream.read_picture(_MAGIC, content) for content in files]
        decoders = [coders.queue.RangeDecoder(each) for each in words]
        rows, columns = self.transform.grid
        batch, dim = len(files), len(self.cells)
        index = np.empty((batch, rows, columns, dim), dtype=np.int64)
        # A border of zeros above and on both sides.
        scores = np.zeros((batch, rows + 1, columns + 2, dim))
        with bitstream.decoding():
            hyper = np.stack([self._decoded_hyper(decoder) for decoder in decoders])
            for row, column in np.ndindex(rows, columns):
                west = scores[:, row + 1, column]
                above = scores[:, row, column : column + 3].reshape(batch, -1)
                beside = np.concatenate((west, above), axis=1)
                reader = self.model.reader(self._extra(beside, hyper, row, column))
                for place in range(dim):
                    both = digit_tables(self._edges(place), reader.parameters())
                    first = _digits(decoders, family, next(both))
                    found = first * BASE + _digits(decoders, family, both.send(first))
                    index[:, row, column, place] = found
                    scores[:, row + 1, column + 1, place] = self.scores.middles[place][found]
                    reader.tell(scores[:, row + 1, column + 1, place])
            flat = index.reshape(batch, -1, dim)
            integers = [
                bitstream.decode_excesses(decoder, self.cells, blocks)
                for decoder, blocks in zip(decoders, flat, strict=True)
            ]
        return np.stack(integers).reshape(index.shape)

    def bits(
        self, hyper: Int64[np.ndarray, "B M"], integers: Int64[np.ndarray, "B r c D"]
    ) -> Float64[np.ndarray, " B"]:
        """The model's estimate for each picture."""
        index = self._index(integers)
        flat = index.reshape(-1, index.shape[-1])
        model = self.model.parameters(self._inputs(hyper, index))
        bits = bitstream.excess_bits(self.cells, integers.reshape(flat.shape)).sum(1)
        for place in range(flat.shape[1]):
            both = digit_tables(self._edges(place), model[:, place])
            first, second = np.divmod(flat[:, place], BASE)
            for odds, digit in ((next(both), first), (both.send(first), second)):
                shares = odds / odds.sum(1, keepdims=True)
                bits -= np.log2(np.maximum(shares[np.arange(len(flat)), digit], 2.0**-24))
        of_picture = bits.reshape(len(hyper), -1).sum(1)
        for cells, column in zip(self.hyper_cells, hyper.T, strict=True):
            of_picture -= np.log2(cells.probabilities[cells.index(column)])
        return of_picture + bitstream.PICTURE_HEADER_BITS

    def _decoded_hyper(self, decoder: object) -> Int64[np.ndarray, " M"]:
        categorical = bitstream.constriction().stream.model.Categorical
        found = []
        for cells in self.hyper_cells:
            own = categorical(cells.probabilities, perfect=False)
            found.append(decoder.decode(own) + cells.lowest - 1)  # pyright: ignore[reportAttributeAccessIssue]  # constriction has no types
        return np.array(found, dtype=np.int64)

    def _inputs(
        self, hyper: Int64[np.ndarray, "B M"], index: Int64[np.ndarray, "B r c D"]
    ) -> Float64[np.ndarray, "N I"]:
        """What the context model is given of each block, those of a picture one after the other."""
        scores = self._scores(index)
        beside = neighbours(torch.from_numpy(scores)).numpy()
        rows, columns = self.transform.grid
        parts = []
        for row, column in np.ndindex(rows, columns):
            extra = self._extra(beside[:, row, column], hyper, row, column)
            parts.append(np.concatenate((scores[:, row, column], extra), axis=1))
        return np.stack(parts, axis=1).reshape(-1, parts[0].shape[1])

    def _extra(
        self,
        beside: Float64[np.ndarray, "B beside"],
        hyper: Int64[np.ndarray, "B M"],
        row: int,
        column: int,
    ) -> Float64[np.ndarray, "B E"]:
        """Neighbours, hyperprior, place as a one-hot vector, and the step."""
        rows, columns = self.transform.grid
        place = np.zeros((len(hyper), rows * columns + 1))
        place[:, row * columns + column] = 1
        place[:, -1] = self.told_step
        return np.concatenate((beside, hyper, place), axis=1)

    def _index(self, integers: Int64[np.ndarray, "B r c D"]) -> Int64[np.ndarray, "B r c D"]:
        columns = [cells.index(integers[..., dim]) for dim, cells in enumerate(self.cells)]
        return np.stack(columns, axis=-1)

    def _scores(self, index: Int64[np.ndarray, "B r c D"]) -> Float64[np.ndarray, "B r c D"]:
        return self.scores.of(index.reshape(-1, index.shape[-1])).reshape(index.shape)

    def _edges(self, place: int) -> Float64[np.ndarray, " edges"]:
        return self.scores.edges[place, : len(self.cells[place]) + 1]


def _digits(
    decoders: Sequence[object], family: object, tables: Float64[np.ndarray, "B n"]
) -> Int64[np.ndarray, " B"]:
    """The next digit of each file."""
    found = [
        decoder.decode(family, odds[None])[0]  # pyright: ignore[reportAttributeAccessIssue]  # constriction has no types
        for decoder, odds in zip(decoders, tables, strict=True)
    ]
    return np.array(found, dtype=np.int64)
