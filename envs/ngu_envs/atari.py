"""Atari games, E at a time in worker processes, with the room that each one is in.

ale-py's own vector environment is as fast but does not show the console's memory, which tells the
room. The games are stepped through ale-py's single interface here.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np

from ngu_envs.atari_frames import SCREEN_WIDTH, SIDE
from ngu_envs.atari_game import RECORD, GameSettings
from ngu_envs.atari_names import ROOM_BYTES
from ngu_envs.atari_process import WorkerProcess
from ngu_envs.checks import require_bool, require_integer, require_probability
from ngu_envs.vectorized import RestorableVectorEnv, State, checked_actions, usable_cores

_MAX_STEPS = 27_000  # 30 minutes of 60 frames a second, 4 frames a step

PROTOCOLS = {
    "paper": GameSettings(
        sticky_probability=0.0,
        frame_stack=1,
        noop_max=30,
        full_action_set=True,
        action_repeat=4,
        max_steps=_MAX_STEPS,
    ),
    "sticky": GameSettings(
        sticky_probability=0.25,
        frame_stack=4,
        noop_max=0,
        full_action_set=True,
        action_repeat=4,
        max_steps=_MAX_STEPS,
    ),
}
"""paper: Never Give Up (arXiv 2002.06038), appendix. sticky: Machado et al. (arXiv 1709.06009)."""


@dataclass(frozen=True)
class AtariConfig:
    """How Atari games are played; a field that is None takes the protocol's value.

    Under both protocols: grey 84 x 84, the maximum over an action's last two frames, rewards as the
    game gives them, an episode ends when the game does and not when a life is lost.
    """

    protocol: Literal["paper", "sticky"] = "paper"
    """"paper": 1 frame, up to 30 no-ops, no sticky actions, as the numbers of Never Give Up were
    made, which is why it is the default; "sticky": 4 frames, sticky actions of 0.25, no no-ops, as
    most later work."""
    sticky_probability: float | None = None
    """Chance at each frame that the previous action is repeated instead."""
    frame_stack: int | None = None
    """Latest frames in an observation; those before an episode's beginning are black."""
    noop_max: int | None = None
    """An episode begins with 1 to this many frames without action; 0 for none."""
    full_action_set: bool | None = None
    """All 18 actions of the console, or only those that do something in the game."""
    action_repeat: int | None = None
    """Frames for which an action is held."""
    max_steps: int | None = None
    """Steps after which an episode is truncated; the protocols' 27,000 are 30 minutes of play."""
    num_workers: int | None = None
    """Processes that share the environments, None for one a core; the results do not depend on
    it."""
    screens: bool = False
    """Whether info holds the console's own picture too, for people: in colour, 210 x 160."""

    def __post_init__(self):
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol must be one of {list(PROTOCOLS)}, got {self.protocol!r}")
        settings = self.settings
        require_probability("sticky_probability", settings.sticky_probability)
        require_integer("frame_stack", settings.frame_stack, minimum=1, maximum=64)
        require_integer("noop_max", settings.noop_max, minimum=0)
        require_bool("full_action_set", settings.full_action_set)
        require_integer("action_repeat", settings.action_repeat, minimum=1)
        require_integer("max_steps", settings.max_steps, minimum=1)
        require_bool("screens", self.screens)
        if self.num_workers is not None:
            require_integer("num_workers", self.num_workers, minimum=1)

    @property
    def settings(self) -> GameSettings:
        """The protocol's settings with the fields that are given put over them."""
        names = [field.name for field in dataclasses.fields(GameSettings)]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return dataclasses.replace(PROTOCOLS[self.protocol], **given)


class AtariEnvs(RestorableVectorEnv):
    """E environments of one game.

    Observation: uint8 [frames, 84, 84], latest frame last. Actions: Discrete. Rewards: float32,
    unclipped. info: "lives" int32 [E]; "ram" uint8 [E, 128], the console's memory; "room" int32 [E]
    in the games of `ROOM_BYTES`; "screen" uint8 [E, rows, 160, 3] where `AtariConfig.screens` asks
    for it, but not after `restore`.

    Args:
        rom: For example "montezuma_revenge".
        num_envs: Number of environments.
        seed: Decides no-ops and sticky actions; environment i's do not depend on `num_envs`.
        config: How the game is played.

    Raises:
        WorkerDiedError: A worker died; the message tells its last words. Any method may raise it.
    """

    def __init__(self, rom: str, num_envs: int, seed: int, config: AtariConfig | None = None):
        self.rom = rom
        self.config = config or AtariConfig()
        settings = self.config.settings
        require_integer("num_envs", num_envs, minimum=1)
        require_integer("seed", seed, minimum=0)
        count = min(self.config.num_workers or usable_cores(), num_envs)
        bounds = np.linspace(0, num_envs, count + 1).astype(int).tolist()
        self._workers = [
            WorkerProcess(rom, first, end - first, settings, screens=self.config.screens)
            for first, end in itertools.pairwise(bounds)
        ]
        self._has_room = rom in ROOM_BYTES
        super().__init__(
            num_envs,
            seed,
            gymnasium.spaces.Box(0, 255, (settings.frame_stack, SIDE, SIDE), np.uint8),
            gymnasium.spaces.Discrete(self._create(num_envs, seed)),
            progress="room" if self._has_room else None,
        )
        self.metadata |= {
            "frames_per_step": settings.action_repeat,
            "frame_stack": settings.frame_stack,
        }

    @property
    def worker_pids(self) -> list[int]:
        """The numbers of the worker processes."""
        return [worker.pid for worker in self._workers]

    def _create(self, num_envs: int, seed: int) -> int:
        """Makes all games anew and returns how many actions they have."""
        children = np.random.SeedSequence(seed).spawn(num_envs)
        seeds = np.array([child.generate_state(1, np.uint64)[0] for child in children])
        for worker in self._workers:
            worker.create(seeds[worker.share])
        created = [worker.read_created() for worker in self._workers]
        actions, self._screen_rows = created[0]
        return actions

    def _read(self) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        observations = np.empty(self.observation_space.shape or (), np.uint8)
        records = np.empty(self.num_envs, RECORD)
        arrays, info = [observations, records], {}
        if self.config.screens:
            shape = (self.num_envs, self._screen_rows, SCREEN_WIDTH, 3)
            info["screen"] = np.empty(shape, np.uint8)
            arrays.append(info["screen"])
        for worker in self._workers:
            worker.read_step(*arrays)
        return observations, records, info | self._info(records)

    def _info(self, records: np.ndarray) -> dict[str, Any]:
        info = {"lives": records["lives"].copy(), "ram": records["ram"].copy()}
        if self._has_room:
            info["room"] = records["room"].copy()
        return info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in all environments; observations [E, frames, 84, 84] and info."""
        reset_seed = self._seed_for_reset(seed, options)
        if reset_seed is not None:
            self._create(self.num_envs, reset_seed)
        self._was_reset = True
        for worker in self._workers:
            worker.reset()
        observations, _, info = self._read()
        return observations, info

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step everywhere, a reset step where an episode ended at the step before.

        Args:
            actions: Integers [E].

        Returns:
            Observations uint8 [E, frames, 84, 84], rewards float32 [E], terminated and truncated
            bool [E], info.

        Raises:
            ResetNeeded: Before the first reset.
            TypeError: Actions that are no integers.
            ValueError: Actions of another shape or outside the space.
        """
        self._require_reset()
        assert isinstance(self.single_action_space, gymnasium.spaces.Discrete)
        actions = checked_actions(actions, self.single_action_space, self.num_envs)
        for worker in self._workers:
            worker.step(actions[worker.share])
        observations, records, info = self._read()
        rewards, terminated, truncated = (
            records[name].copy() for name in ("reward", "terminated", "truncated")
        )
        return observations, rewards, terminated, truncated, info

    @property
    def repeatable(self) -> bool:
        """Whether the same actions lead from a snapshot to the same states every time."""
        return self.config.settings.sticky_probability == 0

    def snapshots(self, where: np.ndarray) -> list[bytes]:
        """Where the environments in `where` (bool [E]) stand, for `restore` to go back to."""
        self._require_reset()
        asked = [(worker, where[worker.share]) for worker in self._workers]
        for worker, mine in asked:
            worker.snapshot(mine)
        return [snap for worker, mine in asked for snap in worker.read_snapshots(int(mine.sum()))]

    def restore(
        self, where: np.ndarray, snapshots: list[bytes]
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Takes the environments in `where` (bool [E]) back, each to one of K snapshots.

        Returns:
            Their observations [K, frames, 84, 84] and info, [K] each.

        Raises:
            ValueError: There are not K snapshots.
        """
        self._require_one_for_each(where, snapshots)
        shape = self.single_observation_space.shape or ()
        observations = np.empty((len(snapshots), *shape), np.uint8)
        records = np.empty(len(snapshots), RECORD)
        rows, first = [], 0
        for worker in self._workers:
            mine = where[worker.share]
            rows.append(slice(first, first + int(mine.sum())))
            worker.restore(mine, snapshots[rows[-1]])
            first = rows[-1].stop
        for worker, row in zip(self._workers, rows, strict=True):
            worker.read_restored(observations[row], records[row])
        return observations, self._info(records)

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers."""
        for worker in self._workers:
            worker.close()

    def state_dict(self) -> State:
        """Everything that the next steps depend on; the emulators' states as bytes."""
        return {
            "environment": self.rom,
            "settings": dataclasses.asdict(self.config.settings),
            "was_reset": self._was_reset,
            "games": [game for worker in self._workers for game in worker.save()],
        }

    def load_state_dict(self, state: State) -> None:
        """Goes on where `state_dict` was taken, with any number of workers.

        Raises:
            ValueError: The state is that of another game, other settings or number of environments.
        """
        if state["environment"] != self.rom:
            raise ValueError(f"state must be that of {self.rom}, got {state['environment']}")
        if state["settings"] != dataclasses.asdict(self.config.settings):
            raise ValueError(f"state was made with other settings: {state['settings']}")
        if len(state["games"]) != self.num_envs:
            raise ValueError(
                f"state must be that of {self.num_envs} environments, got {len(state['games'])}"
            )
        for worker in self._workers:
            worker.load(state["games"][worker.share])
        self._was_reset = state["was_reset"]
