"""What the page shows for a latent: the decoded picture, a film strip, the nearest frames.

Pictures are PNG inside of data URLs, so that a page of them needs no further file. Values of a
latent come and go in the order of the sliders.

Shapes: S steps, Z latent dimensions, H x W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ngu.analysis.latents import Dimension, SeenPictures
from ngu.world.convolutions import as_colours
from ngu.world.vae import ConvVAE, traverse

FAR = 3.0
"""Standard deviations of the prior that sliders and film strips reach at least."""

_SWEPT = 11
_OFFERED = 12
_NEAREST = 12
_DIGITS = 2  # of a slider's value
_NOTHING = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEAAAAALAAAAAABAAEAAAI="


class Tile(TypedDict):
    """A picture of a sheet."""

    picture: str
    """As a data URL."""
    caption: str
    """Below it."""
    title: str
    """What it is, in words."""
    mark: str
    """"chosen", or nothing."""


class LatentViews:
    """What is shown for a latent, and latents to start from.

    Args:
        vae: the autoencoder, on the CPU.
        seen: recorded pictures.
        dimensions: of the latent, in the order of their sliders.
        generator: draws from the prior, and which recorded pictures are offered.

    Attributes:
        limit: how far a slider goes to both sides: all recorded pictures lie within.
    """

    def __init__(
        self,
        vae: ConvVAE,
        seen: SeenPictures,
        dimensions: Sequence[Dimension],
        *,
        generator: np.random.Generator,
    ) -> None:
        self.dimensions = list(dimensions)
        self.frames = len(seen.pictures)
        self.limit = float(np.ceil(np.abs(seen.means).max(initial=FAR)))
        self._vae, self._seen, self._generator = vae, seen, generator
        self._order = [dimension.index for dimension in dimensions]

    def picture(self, *values: float) -> str:
        """HTML of what a latent decodes to."""
        drawn = _data_url(self._decoded(self._latent(values)[None])[0])
        return _figure(drawn, "decoded picture", "drawn from the numbers alone")

    def beginning(self, row: int | None) -> str:
        """HTML of the recorded picture that a latent started from; None: from none."""
        if row is None:
            return _figure(_NOTHING, "nothing", "no frame")
        return _figure(self._recorded(row), f"recorded frame {row}", f"frame {row}")

    def strip(self, place: int, *values: float) -> list[Tile]:
        """A latent's pictures while the dimension at a place goes from -3 to 3."""
        steps = (torch.arange(_SWEPT) / (_SWEPT // 2) - 1) * FAR
        shown = self._decoded(traverse(self._latent(values), self._order[place], steps))
        captions = [f"{step:+.1f}" if step else "0" for step in steps.tolist()]
        return [
            Tile(picture=_data_url(picture), caption=caption, title=f"at {caption}", mark="")
            for picture, caption in zip(shown, captions, strict=True)
        ]

    def around(self, place: int, *values: float) -> tuple[list[Tile], list[Tile], list[int]]:
        """The strip of `strip`; the nearest recorded pictures with their distances; their rows."""
        distances, rows = self._seen.nearest(self._latent(values).numpy(), _NEAREST)
        nearest = self.sheet(rows.tolist())
        for tile, distance in zip(nearest, distances, strict=True):
            tile["caption"] = f"{distance:.2f}"
        return self.strip(place, *values), nearest, rows.tolist()

    def sheet(self, rows: Sequence[int], chosen: int | None = None) -> list[Tile]:
        """Recorded pictures with their rows, one of them marked."""
        return [
            Tile(
                picture=self._recorded(row),
                caption=str(row),
                title=f"frame {row}",
                mark="chosen" if row == chosen else "",
            )
            for row in rows
        ]

    def offered(self) -> list[int]:
        """Rows of recorded pictures to start from, drawn."""
        return np.sort(self._generator.permutation(self.frames)[:_OFFERED]).tolist()

    def of_frames(self, first: int, last: int, share: float) -> list[float]:
        """Values on the straight line from one recorded picture to another."""
        ends = torch.from_numpy(self._seen.means[[first, last]])
        return self._values(torch.lerp(ends[0], ends[1], share))

    def of_prior(self) -> list[float]:
        """Values drawn from the prior, which is standard normal, cut at the sliders' ends."""
        drawn = torch.from_numpy(self._generator.standard_normal(len(self._order)))
        return self._values(drawn.clamp(-self.limit, self.limit))

    def _latent(self, values: Sequence[float]) -> Float[Tensor, " Z"]:
        latent = torch.empty(len(self._order))
        latent[self._order] = torch.tensor(values, dtype=torch.float32)
        return latent

    def _values(self, latent: Float[Tensor, " Z"]) -> list[float]:
        return [round(value, _DIGITS) for value in latent[self._order].tolist()]

    @torch.no_grad()
    def _decoded(self, latents: Float[Tensor, "S Z"]) -> UInt8[np.ndarray, "S H W 3"]:
        return as_colours(self._vae.decode(latents).numpy())

    def _recorded(self, row: int) -> str:
        return _data_url(as_colours(self._seen.pictures[row][None])[0])


def _figure(picture: str, title: str, caption: str) -> str:
    return f'<img src="{picture}" alt="{title}"><small>{caption}</small>'


def _data_url(picture: UInt8[np.ndarray, "H W 3"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "png", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
