"""Evolution of vectors towards a higher fitness: CMA-ES, whose whole state is arrays and numbers.

Source: Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772), in his package cma.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from ngu.seeding import Seeds, generator_state, set_generator_state

# What the next generations depend on; the package would pickle itself whole.
_STRATEGY = ("mean", "sigma", "pc", "pc2", "countiter", "countevals")
_SAMPLER = ("C", "B", "D", "count_tell", "count_eigen", "last_update")


class Evolution:
    """A normal distribution that moves to where its samples are fittest.

    Args:
        size: numbers N in a vector, at least 2.
        population: vectors P in a generation.
        deviation: standard deviation of the first generation, around zero.
        seed: of the samples. Global random state is not touched.

    Attributes:
        candidates: the generation to be evaluated, float64 [P, N].

    Raises:
        ImportError: the package cma is missing; says which extra to install.
    """

    def __init__(self, size: int, *, population: int, deviation: float, seed: int) -> None:
        try:
            import cma
            from cma.sigma_adaptation import CMAAdaptSigmaCSA
        except ImportError as error:
            raise ImportError(
                'the world-models agent needs cma: pip install "never-give-up[world]"'
            ) from error
        self._generator = Seeds(seed).numpy("evolution")
        options = {
            "popsize": population,
            "randn": lambda count, size: self._generator.standard_normal((count, size)),
            "AdaptSigma": CMAAdaptSigmaCSA,  # the tutorial's, whatever the sizes
            "seed": np.nan,  # leaves numpy's global generator alone
            "conditioncov_alleviate": False,  # would change the coordinates of what is saved
            "verbose": -9,
            "verb_disp": 0,
            "verb_log": 0,
        }
        self._strategy: Any = cma.CMAEvolutionStrategy(np.zeros(size), deviation, options)
        self._ask()

    @property
    def generation(self) -> int:
        """Generations evaluated so far."""
        return self._strategy.countiter

    @property
    def mean(self) -> Float[np.ndarray, " N"]:
        """The middle of the distribution, what evolution has found so far."""
        return self._strategy.mean.copy()

    @property
    def deviation(self) -> float:
        """The overall step size sigma."""
        return float(self._strategy.sigma)

    def tell(self, fitness: Float[np.ndarray, " P"]) -> None:
        """Take the candidates' fitness, the higher the better, and draw the next generation.

        Raises:
            FloatingPointError: one is not finite; nothing has changed.
        """
        if not np.isfinite(fitness).all():
            raise FloatingPointError(
                f"the fitness of a controller is {fitness[~np.isfinite(fitness)][0]}"
            )
        self._strategy.tell(list(self.candidates), (-fitness).tolist())
        self._ask()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next generations depend on."""
        strategy = self._strategy
        return {
            "strategy": {name: getattr(strategy, name) for name in _STRATEGY},
            "sampler": {name: getattr(strategy.sm, name) for name in _SAMPLER},
            "sigma_path": strategy.adapt_sigma.ps,
            "generator": self._before,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned; the same generation is drawn once more.

        Raises:
            ValueError: the state is of vectors of another size.
        """
        strategy = self._strategy
        if state["strategy"]["mean"].shape != strategy.mean.shape:
            raise ValueError(
                f"the controllers must have {strategy.mean.size} weights, "
                f"got {state['strategy']['mean'].size}"
            )
        strategy.adapt_sigma.initialize(strategy)  # its first step would forget the path
        strategy.adapt_sigma.ps = state["sigma_path"].copy()
        for target, part in ((strategy, "strategy"), (strategy.sm, "sampler")):
            for name, value in state[part].items():
                setattr(target, name, value.copy() if isinstance(value, np.ndarray) else value)
        strategy.mean_old = strategy.mean  # asked for, and not used
        strategy.number_of_solutions_asked = 0
        set_generator_state(self._generator, state["generator"])
        self._ask()

    def _ask(self) -> None:
        self._before = generator_state(self._generator)
        sampler = self._strategy.sm
        sampler.update_now()
        # In the order in memory that a loaded state has: sums over another one differ by rounding.
        sampler.B, sampler.C = np.ascontiguousarray(sampler.B), np.ascontiguousarray(sampler.C)
        self.candidates: Float[np.ndarray, "P N"] = np.stack(self._strategy.ask())
