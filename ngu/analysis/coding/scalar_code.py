"""Codes (a) and (b): each dimension by itself, as it is or after a rotation to principal axes.

Shapes: N states, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from ngu.analysis.coding import bitstream
from ngu.analysis.coding.cells import Cells, count_cells, quantise


@dataclass(frozen=True)
class Rotation:
    """An affine transform that keeps distances: y = (x - centre) @ axes."""

    centre: Float64[np.ndarray, " D"]
    """Taken off first."""
    axes: Float64[np.ndarray, "D D"]
    """Orthonormal columns."""

    def analyse(self, embeddings: Float[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """Coordinates of embeddings."""
        return (embeddings - self.centre) @ self.axes

    def synthesise(self, coordinates: Float64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """Embeddings of coordinates."""
        return coordinates @ self.axes.T + self.centre


@dataclass(frozen=True)
class ScalarCode:
    """A rotation, a step, and each coordinate's own distribution."""

    rotation: Rotation
    """To the coordinates that are quantised."""
    step: float
    """Of all of them."""
    cells: Sequence[Cells]
    """Of each."""

    def quantise(self, embeddings: Float[np.ndarray, "N D"]) -> Int64[np.ndarray, "N D"]:
        """The integers that are written."""
        return quantise(self.rotation.analyse(embeddings), self.step)

    def bits(self, integers: Int64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """The model's estimate for each number of each state."""
        bits = bitstream.excess_bits(self.cells, integers)
        for dim, cells in enumerate(self.cells):
            bits[:, dim] -= np.log2(cells.probabilities[cells.index(integers[:, dim])])
        return bits

    def reconstruct(self, integers: Int64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N D"]:
        """The embeddings that integers are decoded to."""
        columns = [
            cells.decoded(column, cells.index(column))
            for cells, column in zip(self.cells, integers.T, strict=True)
        ]
        return self.rotation.synthesise(np.stack(columns, axis=1))

    def encode(self, integers: Int64[np.ndarray, "N D"]) -> bytes:
        """The bytes of a file."""
        coders = bitstream.constriction().stream
        encoder = coders.queue.RangeEncoder()
        for cells, column in zip(self.cells, integers.T, strict=True):
            model = coders.model.Categorical(cells.probabilities, perfect=False)
            encoder.encode(cells.index(column).astype(np.int32), model)
        bitstream.encode_excesses(encoder, self.cells, integers)
        return bitstream.write(integers, encoder.get_compressed())

    def decode(self, content: bytes) -> Int64[np.ndarray, "N D"]:
        """The integers that `encode` was given.

        Raises:
            BitstreamError: the bytes are damaged, cut off, or of another code.
        """
        header, words = bitstream.read(content, len(self.cells))
        coders = bitstream.constriction().stream
        decoder = coders.queue.RangeDecoder(words)
        index = np.empty((header.rows, header.dim), dtype=np.int64)
        with bitstream.decoding():
            for dim, cells in enumerate(self.cells):
                model = coders.model.Categorical(cells.probabilities, perfect=False)
                index[:, dim] = decoder.decode(model, header.rows)
            integers = bitstream.decode_excesses(decoder, self.cells, index)
        bitstream.check(header, integers)
        return integers

    @property
    def model_numbers(self) -> int:
        """Numbers that a decoder must know: probabilities, values, and the rotation."""
        return 2 * sum(map(len, self.cells)) + self.rotation.axes.size + len(self.rotation.centre)


def identity(embeddings: Float[np.ndarray, "N D"]) -> Rotation:
    """No rotation: each dimension as it is, its mean taken off."""
    return Rotation(_centre(embeddings), np.eye(embeddings.shape[1]))


def principal_axes(embeddings: Float[np.ndarray, "N D"]) -> Rotation:
    """The rotation to principal axes, the one of the largest variance first."""
    centre = _centre(embeddings)
    centred = embeddings - centre
    _, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    return Rotation(centre, np.ascontiguousarray(vectors[:, ::-1]))


def fit_scalar_code(
    rotation: Rotation, embeddings: Float[np.ndarray, "N D"], step: float
) -> ScalarCode:
    """Count the cells of a rotation's coordinates on training states."""
    coordinates = rotation.analyse(embeddings)
    return ScalarCode(rotation, step, [count_cells(column, step) for column in coordinates.T])


def _centre(embeddings: Float[np.ndarray, "N D"]) -> Float64[np.ndarray, " D"]:
    return embeddings.mean(0, dtype=np.float64)
