"""How much of a codec's compression is knowledge of what it has seen: games coded by each other's.

    python benchmarks/experience.py [--games MontezumaRevenge,Pitfall,PrivateEye,Freeway]
        [--folder runs/codecs] [--updates 300,600,250,150,150] [--shown 24] [--psnr 30]

Codecs are those of benchmarks/frame_codecs.py: words in context, and those of stage III. Quality is
equal: every picture is completed to a PSNR by a code of what the codec missed, which knows no game.
Of the game's codecs, and of none at all, each picture takes what comes to the fewest bits; the
choice is a byte of its file, which is written, read and decoded. Bits are files' sizes.
"""

from __future__ import annotations

import argparse
import logging
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from frame_codecs import add_arguments, config_of, pillow, trained
from game_frames import game_frames

from ngu.analysis.coding.frame_code import FrameCode
from ngu.analysis.coding.residual_code import complete, completed
from ngu.analysis.coding.word_code import WordCode
from ngu.analysis.picture_quality import psnr

Code = FrameCode | WordCode
_HEAD = struct.Struct("<BH")
_GREY = 128
_CHECKED = 1
"""Pictures whose files are decoded all the way, of each pair of games."""


def main() -> None:
    """Print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.set_defaults(shown=24)
    parser.add_argument("--psnr", type=float, default=30.0, help="dB (%(default)s)")
    known = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    games = known.games.split(",")
    pictures, codes = {}, dict[str, list[Code]]()
    for game in games:
        frames = game_frames(game, known.folder)
        held_out = frames.held_out
        pictures[game] = held_out[:: max(1, len(held_out) // known.shown)][: known.shown]
        learnings = trained(game, frames, known.folder, config_of(known.updates))
        codes[game] = [learnings["I"].word_code(), *learnings["III"].codes()]
    print(f"bits per pixel at {known.psnr} dB, {known.shown} held-out frames of each game")
    print(f"{'codec of':18}" + "".join(f"{game:>18}" for game in games))
    for name, of_game in {**codes, "nothing": []}.items():
        row = [bits_per_pixel(of_game, pictures[game], known.psnr) for game in games]
        print(f"{name:18}" + "".join(f"{bits:18.4f}" for bits in row), flush=True)
    row = [by_jpeg(pictures[game], known.psnr) for game in games]
    print(f"{'JPEG':18}" + "".join(f"{bits:18.4f}" for bits in row), flush=True)


def bits_per_pixel(codes: Sequence[Code], pictures: np.ndarray, wanted: float) -> float:
    """Of a picture's file by one codec, the mean over pictures."""
    best = [b""] * len(pictures)
    for choice in range(len(codes) + 1):
        if choice == 0:
            files, bases = [b""] * len(pictures), np.full_like(pictures, _GREY)
        else:
            code = codes[choice - 1]
            files = code.encode(torch.from_numpy(pictures))
            bases = code.approximate(torch.from_numpy(pictures)).numpy()
        for number, (file, base) in enumerate(zip(files, bases, strict=True)):
            content = _HEAD.pack(choice, len(file)) + file
            if best[number] and len(content) >= len(best[number]):
                continue
            content += complete(pictures[number], base, wanted)
            if not best[number] or len(content) < len(best[number]):
                best[number] = content
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.bin" for number in range(len(best))]
        for path, content in zip(paths, best, strict=True):
            path.write_bytes(content)
        for path, picture in zip(paths[:_CHECKED], pictures, strict=False):
            shown = decoded(path.read_bytes(), codes, picture.shape)
            if psnr(picture[None], shown[None])[0] < wanted:
                raise RuntimeError("a file does not decode to a picture of that quality")
        size = np.mean([path.stat().st_size for path in paths])
    return float(8 * size / (pictures.shape[1] * pictures.shape[2]))


def decoded(content: bytes, codes: Sequence[Code], shape: tuple[int, ...]) -> np.ndarray:
    """The picture of a file."""
    choice, length = _HEAD.unpack_from(content)
    rest = content[_HEAD.size :]
    if choice == 0:
        base = np.full(shape, _GREY, np.uint8)
    else:
        code = codes[choice - 1]
        base = code.reconstruct(code.decode([rest[:length]])).numpy()[0]
    return completed(base, rest[length:])


def by_jpeg(pictures: np.ndarray, wanted: float) -> float:
    """Of each picture's smallest JPEG that is as good, the mean."""
    sizes = np.full(len(pictures), np.inf)
    for quality in range(2, 101, 2):
        found, shown = pillow(pictures, "JPEG", quality=quality, optimize=True, subsampling=0)
        good = psnr(pictures, shown) >= wanted
        sizes = np.where(good, np.minimum(sizes, found), sizes)
    return float(8 * sizes.mean() / (pictures.shape[1] * pictures.shape[2]))


if __name__ == "__main__":
    main()
