"""What an autoencoder makes of pictures, as sheets to look at."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ngu.seeding import Seeds
from ngu.sentences import SettingsError
from ngu.world.convolutions import as_colours
from ngu.world.vae import ConvVAE, interpolate, traverse

_COLUMNS = 10
_TRAVERSED = 10
_FAR = 3.0
_LINE = 2
_WIDTH = 1000


def check_sheets() -> None:
    """Check that sheets can be written.

    Raises:
        SettingsError: a package is missing.
    """
    if importlib.util.find_spec("PIL") is None:
        raise SettingsError('sheets need the package PIL: pip install "never-give-up[world]"')


@torch.no_grad()
def write_sheets(
    vae: ConvVAE,
    pictures: UInt8[np.ndarray, "N ..."],
    kl: Float[np.ndarray, " Z"],
    folder: Path,
    *,
    seed: int,
) -> None:
    """Write reconstructions.png, samples.png, traversals.png and interpolations.png.

    - reconstructions: pictures, evenly spaced, each above what its posterior's mean decodes to.
    - samples: pictures of latents drawn from the prior.
    - traversals: a line for each of the latent dimensions that say most, which goes from -3 to 3
      while all others stay those of the first picture.
    - interpolations: in each line from one picture to another on a straight line of latents.

    Args:
        vae: the autoencoder.
        pictures: that it was not trained on.
        kl: divergence of each latent dimension, which says how much it tells.
        folder: where the sheets go.
        seed: of the samples.

    Raises:
        OSError: a sheet cannot be written.
    """
    device = next(vae.parameters()).device
    chosen = np.linspace(0, len(pictures) - 1, 2 * _COLUMNS).astype(np.int64)
    shown = torch.from_numpy(pictures[chosen]).to(device)
    latents = vae.encode(shown).mean
    parts = (latents[:_COLUMNS], latents[_COLUMNS:])
    rows = [row for i, part in enumerate(parts) for row in (_part(shown, i), vae.decode(part))]
    _write(folder / "reconstructions.png", rows)
    noise = torch.randn(_COLUMNS**2, len(kl), generator=Seeds(seed).torch("sheet of samples"))
    _write(folder / "samples.png", vae.decode(noise.to(device)).split(_COLUMNS))
    values = torch.linspace(-_FAR, _FAR, _COLUMNS, device=device)
    told = np.argsort(-kl)[:_TRAVERSED].tolist()
    lines = [vae.decode(traverse(latents[0], dimension, values)) for dimension in told]
    _write(folder / "traversals.png", lines)
    lines = [vae.decode(interpolate(*pair, _COLUMNS)) for pair in zip(*parts, strict=True)]
    _write(folder / "interpolations.png", lines)


def _part(shown: Tensor, i: int) -> Tensor:
    return shown[i * _COLUMNS : (i + 1) * _COLUMNS]


def _write(path: Path, rows: Sequence[UInt8[Tensor, "N ..."]]) -> None:
    """Rows of pictures, white lines between them, enlarged by a whole number."""
    from PIL import Image

    tiles = np.stack([as_colours(row.cpu().numpy()) for row in rows])
    lines = [(0, 0), (0, 0), (0, _LINE), (0, _LINE), (0, 0)]
    tiles = np.pad(tiles, lines, constant_values=255)
    count, columns, height, width, _ = tiles.shape
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(count * height, columns * width, 3)
    zoom = max(1, _WIDTH // sheet.shape[1])
    Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1)).save(path)
