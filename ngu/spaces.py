"""What the spaces say about observations and actions, and checks of arguments against them.

A wrong argument raises an error that names it, what came and what was expected, before anything
has changed. Values are read only where they can be wrong: bytes are never scanned.
"""

from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

Array = np.ndarray | Tensor

SMALLEST_IMAGE = 36
"""The least height and width, in pixels, of what counts as an image; below it is a grid."""


class ObservationSpec:
    """An observation space: its kind, where its channels are, and the check of observations.

    Images and grids have two or three dimensions. The channel axis of three is the smaller one of
    the first and the last, and the first where both are equal; a space of two has one channel.

    Args:
        space: A Box with one to three dimensions, or a Discrete.

    Attributes:
        kind: ``"image"`` (height and width of at least 36), ``"grid"`` (smaller), ``"vector"``
            (one dimension) or ``"discrete"``.
        shape: The shape of one observation.
        dtype: The torch dtype of observations.
        channel_axis: Axis of the channels within one observation, None where there is none.
        size: Numbers in one observation as a network gets it; a Discrete's is its one-hot's.
        scale: What a network multiplies observations with: 1 / (largest absolute value) of an
            integer space with bounds, for instance 1 / 255 for images of bytes, else 1.

    Raises:
        TypeError: The space is of a kind that no network here reads; names the wrapper to use.
        ValueError: The space has no or more than three dimensions.
    """

    def __init__(self, space: gym.Space[Any]) -> None:
        self.channel_axis: int | None = None
        self.scale = 1.0
        self.kind: Literal["image", "grid", "vector", "discrete"]
        self.start = 0
        if isinstance(space, gym.spaces.Discrete):
            self.kind = "discrete"
            self.shape: tuple[int, ...] = ()
            self.size = int(space.n)
            self.start = int(space.start)
        elif isinstance(space, gym.spaces.Box):
            self.shape = tuple(int(n) for n in space.shape)
            if not 1 <= len(self.shape) <= 3:
                raise ValueError(
                    "observation_space must have one to three dimensions, got a Box of shape "
                    f"{self.shape}; flatten it with gymnasium.wrappers.FlattenObservation"
                )
            self.size = int(np.prod(self.shape))
            self.kind = "vector" if len(self.shape) == 1 else "grid"
            if len(self.shape) == 3:
                self.channel_axis = 0 if self.shape[0] <= self.shape[2] else 2
            if self.kind == "grid" and min(self.image_shape[1:]) >= SMALLEST_IMAGE:
                self.kind = "image"
            self.scale = _scale(space)
        else:
            raise TypeError(_unreadable("observation_space", space))
        self.dtype = torch.from_numpy(np.zeros(0, dtype=space.dtype)).dtype

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image or a grid."""
        if len(self.shape) == 2:
            return (1, *self.shape)
        if self.channel_axis == 0:
            return (self.shape[0], self.shape[1], self.shape[2])
        return (self.shape[2], self.shape[0], self.shape[1])

    def check(
        self,
        observations: object,
        name: str,
        batch: int | None = None,
        device: torch.device | None = None,
    ) -> Tensor:
        """Return a batch of observations as a tensor that shares its memory, or raise.

        Args:
            observations: Array or tensor [B, *shape] of the space's dtype.
            name: The argument's name, for the message.
            batch: The B that is expected, None for any.
            device: Where a tensor has to be, None for anywhere; arrays are moved to it.

        Returns:
            The observations [B, *shape].

        Raises:
            TypeError: Neither array nor tensor, or of another dtype.
            ValueError: Another shape or device, a NaN or an infinity, or a discrete observation
                outside the space.
        """
        tensor = _as_tensor(observations, name, device)
        _check_shape(tensor, name, batch, self.shape)
        if self.kind == "discrete":
            _check_integers(tensor, name, self.start, self.start + self.size - 1)
        elif tensor.dtype != self.dtype:
            raise TypeError(
                f"{name} must be of dtype {_short(self.dtype)}, as the observation "
                f"space is, got {_short(tensor.dtype)}"
            )
        elif self.dtype.is_floating_point:
            _check_finite(tensor, name)
        return tensor

    def numeric(self, observations: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Return observations as numbers that can be averaged: a Discrete's as one-hot float32."""
        if self.kind != "discrete" or observations.is_floating_point():
            return observations
        return functional.one_hot(observations.long() - self.start, self.size).float()

    @property
    def numeric_shape(self) -> tuple[int, ...]:
        """Shape of one observation as `numeric` returns it."""
        return (self.size,) if self.kind == "discrete" else self.shape


class ActionSpec:
    """An action space: its kind, the width of its encoding, and the check of actions.

    Args:
        space: A Discrete, a MultiDiscrete of one dimension, or a Box of floats.

    Attributes:
        kind: ``"discrete"``, ``"multi_discrete"`` or ``"box"``.
        shape: The shape of one action; () for Discrete.
        size: Width of the encoding: n, the sum of all n, or the numbers in one action.
        choices: The number of choices of each part; empty for a Box.

    Raises:
        TypeError: The space is of another kind; names the wrapper to use.
        ValueError: A MultiDiscrete of more than one dimension.
    """

    def __init__(self, space: gym.Space[Any]) -> None:
        self.kind: Literal["discrete", "multi_discrete", "box"]
        self.shape: tuple[int, ...] = ()
        self.choices: tuple[int, ...] = ()
        self._start = torch.zeros((), dtype=torch.int64)
        if isinstance(space, gym.spaces.Discrete):
            self.kind = "discrete"
            self.choices = (int(space.n),)
            self._start = torch.tensor(int(space.start))
        elif isinstance(space, gym.spaces.MultiDiscrete):
            self.kind = "multi_discrete"
            if space.nvec.ndim != 1:
                raise ValueError(
                    f"action_space must be a MultiDiscrete of one dimension, got {space}"
                )
            self.choices = tuple(int(n) for n in space.nvec)
            self._start = torch.as_tensor(np.asarray(space.start, dtype=np.int64))
            self.shape = (len(self.choices),)
        elif isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating):
            self.kind = "box"
            self.shape = tuple(int(n) for n in space.shape)
            self._low = torch.from_numpy(np.array(space.low))
            self._high = torch.from_numpy(np.array(space.high))
        else:
            raise TypeError(_unreadable("action_space", space))
        self.size = sum(self.choices) if self.choices else int(np.prod(self.shape))

    def check(
        self,
        actions: object,
        name: str,
        batch: int | None = None,
        device: torch.device | None = None,
    ) -> Tensor:
        """Return a batch of actions as a tensor, or raise.

        Args:
            actions: Array or tensor [B, *shape]; integers, or floats for a Box.
            name: The argument's name, for the message.
            batch: The B that is expected, None for any.
            device: Where a tensor has to be, None for anywhere; arrays are moved to it.

        Returns:
            The actions [B, *shape]; int64, or float32 for a Box.

        Raises:
            TypeError: Neither array nor tensor, or of another dtype.
            ValueError: Another shape or device, a NaN, or an action outside the space.
        """
        tensor = _as_tensor(actions, name, device)
        _check_shape(tensor, name, batch, self.shape)
        if self.kind == "box":
            if not tensor.is_floating_point():
                raise TypeError(f"{name} must be floats, got {_short(tensor.dtype)}")
            _check_finite(tensor, name)
            low, high = self._low.to(tensor), self._high.to(tensor)
            if ((tensor < low) | (tensor > high)).any():
                raise ValueError(
                    f"{name} must be inside the action space, got {_shown(tensor)}, "
                    f"expected {_shown(low)} to {_shown(high)}"
                )
            return tensor.float()
        if self.kind == "discrete":
            start = int(self._start)
            _check_integers(tensor, name, start, start + self.choices[0] - 1)
            return tensor.long()
        _check_is_integer(tensor, name)
        index = tensor.long() - self._start.to(tensor.device)
        if ((index < 0) | (index >= torch.tensor(self.choices, device=tensor.device))).any():
            raise ValueError(
                f"{name} must be inside the action space MultiDiscrete"
                f"{list(self.choices)}, got {_shown(tensor)}"
            )
        return tensor.long()

    def index(self, actions: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Return discrete actions counted from zero: [..., parts] for MultiDiscrete."""
        return actions.long() - self._start.to(actions.device)

    def encode(self, actions: Shaped[Tensor, "..."]) -> Float[Tensor, "... size"]:
        """Return actions as a network reads them: one-hot parts side by side, or a Box's floats.

        Args:
            actions: [..., *shape], inside the space.

        Returns:
            float32 [..., size].
        """
        if self.kind == "box":
            lead = actions.shape[: actions.dim() - len(self.shape)]
            return actions.float().reshape(*lead, self.size)
        index = self.index(actions)
        if self.kind == "discrete":
            return functional.one_hot(index, self.size).float()
        parts = [
            functional.one_hot(part, n).float()
            for part, n in zip(index.unbind(-1), self.choices, strict=True)
        ]
        return torch.cat(parts, dim=-1)


def check_where(
    where: object, batch: int, name: str, device: torch.device | None = None
) -> Tensor | None:
    """Return a mask of environments as a bool tensor [E], None where there is none, or raise.

    Args:
        where: Booleans [E], or None for everywhere.
        batch: E.
        name: The argument's name, for the message.
        device: The device that the mask is moved to.

    Raises:
        TypeError: Neither array nor tensor, or not of booleans.
        ValueError: Another shape.
    """
    if where is None:
        return None
    mask = _as_tensor(where, name, None)
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} must be of dtype bool, got {_short(mask.dtype)}")
    if tuple(mask.shape) != (batch,):
        raise ValueError(f"{name} must have shape [{batch}], got {list(mask.shape)}")
    return mask.to(device)


def _as_tensor(values: object, name: str, device: torch.device | None) -> Tensor:
    if isinstance(values, Tensor):
        if device is not None and values.device != device:
            raise ValueError(f"{name} must be on device {device}, got {values.device}")
        return values
    if not isinstance(values, np.ndarray):
        raise TypeError(f"{name} must be a numpy array or a tensor, got {type(values).__name__}")
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers, got dtype {values.dtype}")
    # torch takes neither read-only memory nor negative strides.
    if not values.flags.writeable or min(values.strides, default=0) < 0:
        values = values.copy()
    tensor = torch.from_numpy(values)
    return tensor if device is None else tensor.to(device)


def _check_shape(tensor: Tensor, name: str, batch: int | None, shape: tuple[int, ...]) -> None:
    if (
        tensor.dim() != 1 + len(shape)
        or tuple(tensor.shape[1:]) != shape
        or (batch is not None and tensor.shape[0] != batch)
    ):
        expected = ", ".join(["B" if batch is None else str(batch), *map(str, shape)])
        raise ValueError(f"{name} must have shape [{expected}], got {list(tensor.shape)}")


def _check_finite(tensor: Tensor, name: str) -> None:
    if not torch.isfinite(tensor).all():
        what = "a NaN" if torch.isnan(tensor).any() else "an infinity"
        raise ValueError(f"{name} must be finite, got {what}")


def _check_is_integer(tensor: Tensor, name: str) -> None:
    if tensor.dtype.is_floating_point or tensor.dtype in (torch.bool, torch.complex64):
        raise TypeError(f"{name} must be integers, got {_short(tensor.dtype)}")


def _check_integers(tensor: Tensor, name: str, low: int, high: int) -> None:
    _check_is_integer(tensor, name)
    if tensor.numel() == 0:
        return
    smallest, largest = torch.aminmax(tensor)
    if smallest < low or largest > high:
        raise ValueError(f"{name} must be within {low} to {high}, got {_shown(tensor)}")


def _shown(tensor: Tensor) -> str:
    values = tensor.flatten()[:8].tolist()
    dots = ", ..." if tensor.numel() > 8 else ""
    return f"[{', '.join(f'{value:g}' for value in values)}{dots}]"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _scale(space: gym.spaces.Box) -> float:
    if not np.issubdtype(space.dtype, np.integer):
        return 1.0
    largest = max(abs(int(space.high.max())), abs(int(space.low.min())))
    limit = int(np.iinfo(np.dtype(str(space.dtype))).max)
    unbounded = limit > 255 and largest >= limit
    return 1.0 if unbounded or largest == 0 else 1.0 / largest


def _unreadable(name: str, space: gym.Space[Any]) -> str:
    kind = type(space).__name__
    if name == "action_space":
        return (
            f"action_space must be Discrete, MultiDiscrete or a Box of floats, got {kind}; flatten "
            "it with a gymnasium.wrappers.TransformAction of your own"
        )
    return (
        f"observation_space must be a Box or Discrete, got {kind}; flatten it with "
        "gymnasium.wrappers.FlattenObservation (for MiniGrid, keep the picture with "
        "minigrid.wrappers.ImgObsWrapper)"
    )
