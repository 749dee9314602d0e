"""Many ways to the same score where chance is at work: multilevel splitting along a known way.

A way that was found without chance fails as soon as a sticky action comes in between. Here states
go along it in levels, each some steps nearer to its end than the one before. A level is filled with
states that were reached from states of the level before it, each by actions of ways that are known
from such a state, now and then by random ones. What reaches the next level becomes a known way too,
and how to get back from where chance has led is learned with it. States that a policy came to by
itself join the levels that it had reached by then.

Sources: Kahn and Harris, "Estimation of particle transmission by random sampling" (1951), for
splitting; Salimans and Chen, "Learning Montezuma's Revenge from a single demonstration"
(arXiv 1812.03381), for setting out from states along a demonstration; Ross, Gordon and Bagnell, "A
reduction of imitation learning and structured prediction to no-regret online learning" (arXiv
1011.0686), for demonstrating what to do in states that a policy comes to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv

from ngu.seeding import Seeds
from ngu_agents.archive.attempt import Attempt, Piece
from ngu_agents.archive.cells import Cells
from ngu_agents.archive.demonstrated import Demonstrated
from ngu_agents.archive.guide import Guide
from ngu_agents.archive.lineages import PROVEN_LEVELS, Segment, demonstrated, shortest_way
from ngu_agents.archive.trials import Snapshots
from ngu_agents.archive.visits import Life
from ngu_agents.archive.ways import Beginning, KnownWays, Way

# Share of the attempts that wait at first, for up to so many spacings, where not all before them
# have led on: on the way that is known nothing had to be waited for, such as a gate that opens.
_WAITING, _WAIT = 0.5, 4
# Share of the attempts from a beginning that do at first what the way does in its own, as long as
# nothing is known of the cells there.
_LIKE_THE_WAY = 0.5
# Share of the attempts that are a policy's, where there is one.
_GUIDED = 0.5
# Steps of an attempt, in spacings.
_PATIENCE = 8
# Steps in a level for each of its states, before it counts as a dead end.
_EFFORT = 300
# Dead ends that are too many.
_MOST_DEAD_ENDS = 24
# Attempts from each state that come first, until one leads on: or the descendants of a few would
# soon be all that there is.
_TURNS = 2
# States of a policy's own that join a level, as a share of those that are reached.
_VISITS = 0.5
# Attempts in vain from a dead end's state, after which its cell is not believed any more.
_IN_VAIN = 3


@dataclass(frozen=True)
class SplittingConfig:
    """How many states go along a way, and how far apart its levels are."""

    states: int = 64
    """States in a level."""
    spacing: int = 12
    """Steps of the way from one level to the next."""


class Splitting:
    """Takes states along a way, level by level, until its score is reached.

    Args:
        envs: E environments in next-step autoreset that can go back; chance may be at work there.
        cells: tell states apart; those that the way's names are of.
        way: the known one.
        config: how many states, how far apart.
        seed: of all draws.
        beginnings: further states that the way may begin in.
        episodes: whether it begins in new episodes.
        guide: a policy that makes a share of the attempts; None for none.
        lives: what it went through by itself.

    Attributes:
        level: levels that are filled.
        levels: levels in all.
        dead_ends: how often a level's states could not be led on.
        given_up: whether there were too many dead ends; what was reached by then is kept.
    """

    def __init__(
        self,
        envs: VectorEnv,
        cells: Cells,
        way: Way,
        *,
        config: SplittingConfig,
        seed: int,
        beginnings: Sequence[Beginning] = (),
        episodes: bool = True,
        guide: Guide | None = None,
        lives: Sequence[Life] = (),
    ) -> None:
        # Environments that can go back have these methods, which gymnasium's type does not tell.
        self._returning: Snapshots = envs  # pyright: ignore[reportAttributeAccessIssue]
        self._envs, self._cells, self._config = envs, cells, config
        space = envs.single_action_space
        assert isinstance(space, Discrete)
        self._actions = range(int(space.start), int(space.start + space.n))
        self._stacked = envs.metadata.get("frame_stack", 1) > 1
        self._generator = Seeds(seed).numpy("splitting")
        self._way, self._known, self._guide = way, KnownWays(), guide
        self._played = lives
        length = len(way.actions)
        self._left_at = [*range(length - config.spacing, 0, -config.spacing), 0]
        self.level, self.levels = 0, len(self._left_at)
        self._most_effort = _EFFORT * config.states
        self._patience = _PATIENCE * config.spacing
        self.dead_ends, self.given_up = 0, False
        self._misleading: set[bytes] = set()
        self._back, self._furthest = 0, -1
        self._found: list[Segment] = []
        self._effort = 0
        self._everywhere = np.ones(envs.num_envs, dtype=bool)
        observation, info = envs.reset()
        self._lives = np.array(info.get("lives", np.zeros(envs.num_envs, np.int64)))
        new = self._returning.snapshots(self._everywhere) if episodes else []
        starts = [*(Beginning(snapshot, 0.0) for snapshot in new), *beginnings]
        self._filled: list[list[Segment]] = [
            [Segment(-1, Piece([]), start.score, b"", start.snapshot) for start in starts]
        ]
        self._observation = observation
        self._names = cells(observation, self._everywhere).names
        self._attempts: list[Attempt | None] = [None] * envs.num_envs
        self._learn_anew()
        self._filled[0] += self._visits()

    @property
    def over(self) -> bool:
        """Whether the last level is filled, or none is to be filled any more."""
        return self.given_up or self.level == self.levels

    def step(self) -> int:
        """One step of all environments; returns the steps that were taken.

        Raises:
            RuntimeError: it is over.
        """
        if self.over:
            raise RuntimeError("the last level is filled, there is nothing left to reach")
        self._set_out()
        envs, guide = self._envs, self._guide
        names, attempts = self._names, self._attempts
        actions = np.zeros(envs.num_envs, np.int64)
        if guide is not None:
            actions = guide.act(self._observation)
        for env, attempt in enumerate(self._in_progress()):
            if not attempt.guided:
                actions[env] = attempt.act(names[env], self._known, self._actions, self._generator)
        observation, reward, terminated, truncated, info = envs.step(actions)
        if guide is not None:
            guide.observe(actions, reward)
        hurt = info.get("lives", self._lives) < self._lives
        self._lives = np.array(info.get("lives", self._lives))
        self._observation = observation
        self._names = reached = self._cells(observation, self._everywhere).names
        frames = self._newest(observation)
        left_at = self._left_at[self.level]
        for env, attempt in enumerate(list(self._in_progress())):
            attempt.add(names[env], int(actions[env]), float(reward[env]), frames[env])
            ended = bool(terminated[env])
            died = ended or bool(truncated[env] or hurt[env])
            if left_at == 0:
                there = attempt.score >= self._way.score and (ended or not died)
            else:
                there = not died and self._left(reached[env], attempt.score) <= left_at
            if there:
                self._arrive(env, attempt, reached[env], ended)
            if there or died or len(attempt.piece.actions) >= self._patience:
                attempts[env] = None
        self._effort += envs.num_envs
        if len(self._found) >= self._config.states:
            self._fill()
        elif self._effort >= self._most_effort:
            if 4 * len(self._found) >= self._config.states:
                self._fill()
            else:
                self._go_back()
        return envs.num_envs

    def _newest(self, observation: np.ndarray) -> np.ndarray:
        return observation[:, -1] if self._stacked else observation

    def _in_progress(self) -> Iterator[Attempt]:
        for attempt in self._attempts:
            assert attempt is not None
            yield attempt

    def _set_out(self) -> None:
        """Begin an attempt in each environment that has none."""
        free = np.array([attempt is None for attempt in self._attempts])
        if not free.any():
            return
        origins = self._filled[self.level]
        rows = np.flatnonzero(free)
        drawn = [self._drawn(origins) for _ in rows]
        snapshots = [origins[number].snapshot for number in drawn]
        self._observation[rows], info = self._returning.restore(free, snapshots)
        self._names = self._cells(self._observation, self._everywhere).names
        if "lives" in info:
            self._lives[rows] = info["lives"]
        frames = self._newest(self._observation)
        guide = self._guide
        for env, number in zip(rows.tolist(), drawn, strict=True):
            origin = origins[number]
            guided = guide is not None and self._generator.random() < _GUIDED
            begins = self.level == 0 and self._generator.random() < _LIKE_THE_WAY
            way = self._way.actions if begins else None
            waits = origin.tries - 1 > origin.wins and self._generator.random() < _WAITING
            steps = int(self._generator.integers(_WAIT * self._config.spacing)) if waits else 0
            self._attempts[env] = Attempt(
                number,
                origin.score,
                frames[env],
                guided=guided,
                way=way,
                waiting=(self._actions.start, steps),
            )
            if guide is not None:
                guide.recall(env, origin.memory)

    def _drawn(self, origins: list[Segment]) -> int:
        """Number of the state that the next attempt sets out from, which is counted there."""
        tries = np.array([origin.tries for origin in origins])
        wins = np.array([origin.wins for origin in origins])
        in_turn = (wins == 0) & (tries < _TURNS)
        if in_turn.any():
            worth = in_turn & (tries == tries[in_turn].min())
        else:
            worth = (wins + 1) / (tries + 2)
        number = int(self._generator.choice(len(origins), p=worth / worth.sum()))
        origins[number].tries += 1
        return number

    def _left(self, name: bytes, score: float) -> float:
        """The steps left, as far as a cell can tell."""
        return self._known.left(name, score, most=name in self._misleading)

    def _arrive(self, env: int, attempt: Attempt, name: bytes, terminated: bool) -> None:
        where = np.arange(len(self._attempts)) == env
        snapshot = b"" if terminated else self._returning.snapshots(where)[0]
        self._filled[self.level][attempt.origin].wins += 1
        memory = self._guide and self._guide.memory(env)
        self._found.append(
            Segment(attempt.origin, attempt.piece, attempt.score, name, snapshot, memory)
        )

    def _fill(self) -> None:
        """The level is filled: what led there is known from now on."""
        self._filled.append(self._found)
        self._learn(self.level, self._found)
        self.level += 1
        if not self.over:
            self._filled[self.level] += self._visits()
        self._begin_level()

    def _visits(self) -> list[Segment]:
        """Some states of the policy's own: those after it reached this level, up to the next."""
        found = []
        for life in self._played:
            states = zip(life.names, life.scores, strict=True)
            left = np.array([self._left(name, score) for name, score in states])
            begin = _first(left <= self._left_at[self.level - 1]) if self.level else 0
            end = _first(left <= self._left_at[self.level])
            for place, before, snapshot, memory in life.visits:
                if begin <= place < end:
                    score, name = life.scores[place], life.names[place]
                    found.append(Segment(-1, Piece(before), score, name, snapshot, memory))
        count = min(len(found), round(_VISITS * self._config.states))
        drawn = self._generator.permutation(len(found))[:count]
        return [found[number] for number in drawn]

    def _learn(self, level: int, segments: list[Segment]) -> None:
        for piece in (segment.piece for segment in segments):
            left = self._left_at[level]
            actions = bytes(piece.actions)
            self._known.add(piece.names, piece.scores, actions, left, self._generator)

    def _learn_anew(self) -> None:
        """Know the way, and what has led to the levels that are filled: no dead ends."""
        way, self._known = self._way, KnownWays()
        self._known.add(way.names, way.scores, way.actions, 0, self._generator)
        for level, segments in enumerate(self._filled[1:]):
            self._learn(level, segments)

    def _go_back(self) -> None:
        """The states of this level are a dead end: fill those before it anew, each time more.

        Their cells may be those of states much nearer to the end that look alike.
        """
        self.dead_ends += 1
        if self.level:
            in_vain = (one for one in self._filled[self.level] if one.tries >= _IN_VAIN)
            self._misleading |= {one.name for one in in_vain if not one.wins}
        self.given_up = self.dead_ends > _MOST_DEAD_ENDS
        self._back = self._back * 2 if self.level <= self._furthest else PROVEN_LEVELS
        self._furthest = max(self.level, self._furthest)
        if not self.given_up:
            self.level = max(self.level - self._back, 0)
            del self._filled[self.level + 1 :]
            self._learn_anew()
        self._begin_level()

    def _begin_level(self) -> None:
        self._found, self._effort = [], 0
        self._attempts = [None] * len(self._attempts)

    def shortest(self) -> Way | None:
        """The way with the fewest steps that has reached the end; None where none has."""
        return shortest_way(self._filled) if self.level == self.levels else None

    def demonstrated(self) -> Demonstrated:
        """All steps that led to a state from which the way went on for some levels, or ended."""
        frame = self._newest(self._observation)[0]
        return demonstrated(self._filled, self.levels, frame, self._actions.start)


def _first(where: np.ndarray) -> int:
    """Place of the first one that is true; behind the last one where none is."""
    return int(where.argmax()) if where.any() else len(where)
