"""A film of an episode: its pictures, what it earned, and the novelty of each step as a curve."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from ngu.durable import temporary_of
from ngu.settings import SettingsError

if TYPE_CHECKING:
    from PIL import Image, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

STEPS_PER_SECOND = 15
"""Steps shown a second: Atari games, of four frames a step, then run as fast as on the console."""

_BACKGROUND, _TEXT = (16, 18, 24), (225, 228, 235)
_DIM, _BRIGHT, _GRID = (84, 92, 112), (255, 176, 46), (40, 44, 56)
_CAPTION, _CURVE, _MARGIN = 24, 110, 44
_NEEDED = {".mp4": ("PIL", "imageio_ffmpeg"), ".gif": ("PIL",)}


def check_video(path: Path) -> None:
    """Check that a film can be written, before anything is played for it.

    Args:
        path: Where to; its ending decides what is written.

    Raises:
        SettingsError: The ending is unknown, the folder is not there, or a package is missing.
    """
    if path.suffix.lower() not in _NEEDED:
        raise SettingsError(f"video must end in {' or '.join(_NEEDED)}, got {path}")
    if path.is_dir() or not path.parent.is_dir():
        raise SettingsError(f"video cannot be written to {path}: its folder must exist")
    for package in _NEEDED[path.suffix.lower()]:
        if importlib.util.find_spec(package) is None:
            raise SettingsError(
                f'video needs the package {package}: pip install "never-give-up[video]"'
            )


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]]) -> None:
    """Write frames of one size as MP4 or GIF; what was at ``path`` is replaced at the end.

    Args:
        path: As `check_video` passed it.
        frames: At least one; even in height and width, as MP4 wants them.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = temporary_of(path).with_suffix(path.suffix)
    try:
        if path.suffix.lower() == ".gif":
            _write_gif(temporary, frames)
        else:
            _write_mp4(temporary, frames)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_mp4(path: Path, frames: Iterable[np.ndarray]) -> None:
    from imageio_ffmpeg import write_frames

    writer = None
    try:
        for frame in frames:
            if writer is None:
                height, width, _ = frame.shape
                writer = write_frames(
                    str(path),
                    (width, height),
                    fps=STEPS_PER_SECOND,
                    quality=8,
                    macro_block_size=2,
                    ffmpeg_log_level="error",
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(frame))
    finally:
        if writer is not None:
            writer.close()


def _write_gif(path: Path, frames: Iterable[np.ndarray]) -> None:
    from PIL import Image

    images = (Image.fromarray(frame).quantize(64, dither=Image.Dither.NONE) for frame in frames)
    first = next(images)
    # Hundredths of a second are what the format counts in.
    duration = round(100 / STEPS_PER_SECOND) * 10
    first.save(path, save_all=True, append_images=images, duration=duration, loop=0)


def compose(
    pictures: Iterable[UInt8[np.ndarray, "height width 3"]],
    novelty: Sequence[float],
    rewards: Sequence[float],
    title: str,
) -> Iterator[UInt8[np.ndarray, "frame_height frame_width 3"]]:
    """Put title, return so far and novelty under each picture.

    Args:
        pictures: One a step, of one size.
        novelty: Episodic novelty of each step; empty for none, and no curve then.
        rewards: Extrinsic reward of each step.
        title: Who plays what.

    Yields:
        Frames of even height and width.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=13)
    curve: Curve | None = None
    total = 0.0
    for step, (picture, reward) in enumerate(zip(pictures, rewards, strict=True)):
        total += reward
        height, width, _ = picture.shape
        if curve is None and novelty:
            curve = Curve(novelty, width, font)
        below = _CAPTION + (_CURVE if curve else 0)
        frame = Image.new("RGB", (width + width % 2, (height + below + 1) // 2 * 2), _BACKGROUND)
        frame.paste(Image.fromarray(picture), (0, 0))
        words = f"{title}   step {step + 1}   return {total:g}"
        if curve is not None:
            words += f"   novelty {novelty[step]:.3g}"
            frame.paste(curve.at(step), (0, height + _CAPTION))
        ImageDraw.Draw(frame).text((6, height + 4), words, fill=_TEXT, font=font)
        yield np.asarray(frame)


class Curve:
    """The novelty of a whole episode on a logarithmic scale, bright up to the present step.

    Args:
        novelty: Of each step.
        width: Of the drawing, in pixels.
        font: Of its labels.
    """

    def __init__(self, novelty: Sequence[float], width: int, font: Font) -> None:
        self._steps = len(novelty)
        self._left, self._right = _MARGIN, width - 8
        low, high = _decades(novelty)
        heights = self._heights(np.asarray(novelty), low, high)
        self._dim = self._draw(width, heights, _DIM, (low, high), font)
        self._bright = self._draw(width, heights, _BRIGHT, (low, high), font)

    def at(self, step: int) -> Image.Image:
        """The drawing at a step, counted from 0."""
        from PIL import ImageDraw

        now = self._column(step)
        drawing = self._dim.copy()
        drawing.paste(self._bright.crop((0, 0, now + 1, _CURVE)), (0, 0))
        ImageDraw.Draw(drawing).line([(now, 4), (now, _CURVE - 8)], fill=_TEXT)
        return drawing

    def _column(self, step: int) -> int:
        share = step / max(1, self._steps - 1)
        return self._left + round(share * (self._right - self._left))

    def _heights(
        self, novelty: Float[np.ndarray, " T"], low: float, high: float
    ) -> list[tuple[int, int]]:
        """Points of the curve; of steps that share a column, the highest."""
        exponents = np.log10(np.maximum(novelty, 10.0**low))
        rows = _CURVE - 8 - (exponents - low) / (high - low) * (_CURVE - 16)
        highest: dict[int, int] = {}
        for step, row in enumerate(rows):
            column = self._column(step)
            highest[column] = min(highest.get(column, _CURVE), round(row))
        return list(highest.items())

    def _draw(
        self,
        width: int,
        points: list[tuple[int, int]],
        colour: tuple[int, int, int],
        bounds: tuple[float, float],
        font: Font,
    ) -> Image.Image:
        from PIL import Image, ImageDraw

        low, high = bounds
        image = Image.new("RGB", (width, _CURVE), _BACKGROUND)
        draw = ImageDraw.Draw(image)
        for exponent in np.arange(np.ceil(low), np.floor(high) + 1):
            row = round(_CURVE - 8 - (exponent - low) / (high - low) * (_CURVE - 16))
            draw.line([(self._left, row), (self._right, row)], fill=_GRID)
            label = f"{10.0**exponent:g}"
            draw.text((self._left - 6, row), label, fill=_DIM, font=font, anchor="rm")
        draw.line(points if len(points) > 1 else points * 2, fill=colour, width=2)
        return image


def _decades(novelty: Sequence[float]) -> tuple[float, float]:
    """Whole powers of ten around the positive values."""
    positive = [value for value in novelty if value > 0] or [1.0]
    low = float(np.floor(np.log10(min(positive))))
    return low, max(low + 1, float(np.ceil(np.log10(max(positive)))))
