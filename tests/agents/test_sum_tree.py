import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngu_agents.sum_tree import SumTree


def test_total_and_leaves():
    tree = SumTree(5)
    tree.set(np.array([0, 4, 2]), np.array([1.0, 2.0, 0.5]))
    assert tree.total == 3.5
    np.testing.assert_array_equal(tree.leaves, [1.0, 0.0, 0.5, 0.0, 2.0])
    np.testing.assert_array_equal(tree.get(np.array([4, 0])), [2.0, 1.0])
    tree.set(np.array([4, 4]), np.array([7.0, 0.25]))
    assert tree.total == 1.75


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 39), st.floats(0, 1e6)), min_size=1, max_size=60),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_leaves_alone_determine_the_tree(capacity, changes):
    tree, leaves = SumTree(capacity), np.zeros(capacity)
    for index, value in changes:
        tree.set(np.array([index % capacity]), np.array([value]))
        leaves[index % capacity] = value
    rebuilt = SumTree(capacity)
    rebuilt.load_leaves(leaves)
    np.testing.assert_array_equal(rebuilt._nodes, tree._nodes)
    assert tree.total == pytest.approx(leaves.sum(), rel=1e-12)


def test_no_drift_after_many_updates():
    generator = np.random.default_rng(0)
    tree = SumTree(64)
    for _ in range(2_000):
        tree.set(generator.integers(0, 64, 8), 10.0 ** generator.uniform(-8, 8, 8))
    tree.set(np.arange(64), np.full(64, 0.125))
    assert tree.total == 8.0


def test_draws_are_stratified_by_hand():
    # Total 8 in four strata of 2; leaves cover [0, 1), [1, 1), [1, 5), [5, 8).
    tree = SumTree(4)
    tree.set(np.arange(4), np.array([1.0, 0.0, 4.0, 3.0]))

    class Fixed(np.random.Generator):
        def random(self, size):
            return np.array([0.49, 0.0, 0.6, 0.99])

    # Masses .98, 2, 5.2, 7.98.
    drawn = tree.sample(4, Fixed(np.random.PCG64(0)))
    np.testing.assert_array_equal(drawn, [0, 2, 3, 3])


def test_frequencies_follow_priorities():
    priorities = np.array([0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 0.0])
    tree = SumTree(7)
    tree.set(np.arange(7), priorities)
    generator = np.random.default_rng(1)
    drawn = np.concatenate([tree.sample(10, generator) for _ in range(500)])
    shares = np.bincount(drawn, minlength=7) / len(drawn)
    np.testing.assert_allclose(shares, priorities / 10, atol=0.01)
    assert shares[[0, 3, 6]].sum() == 0


def test_rounding_never_leads_to_a_leaf_of_zero():
    # Sums of 0.1 round: masses near the total must not fall off the end.
    tree = SumTree(13)
    tree.set(np.arange(10), np.full(10, 0.1))
    tree.set(np.array([11]), np.array([1e-300]))

    class Highest(np.random.Generator):
        def random(self, size):
            return np.full(size, np.nextafter(1.0, 0.0))

    drawn = tree.sample(1000, Highest(np.random.PCG64(0)))
    assert set(drawn) <= {*range(10), 11}


def test_one_leaf():
    tree = SumTree(1)
    tree.set(np.array([0]), np.array([0.3]))
    np.testing.assert_array_equal(tree.sample(3, np.random.default_rng(0)), [0, 0, 0])


def test_errors_change_nothing():
    tree = SumTree(3)
    tree.set(np.arange(3), np.ones(3))
    before = tree._nodes.copy()
    generator = np.random.default_rng(0)
    with pytest.raises(IndexError, match=r"\[0, 3\), got 1 to 3"):
        tree.set(np.array([1, 3]), np.ones(2))
    with pytest.raises(IndexError, match="got -1 to 0"):
        tree.get(np.array([-1, 0]))
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="finite and at least 0"):
            tree.set(np.array([0]), np.array([bad]))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        tree.load_leaves(np.ones(4))
    with pytest.raises(ValueError, match="size must be at least 1"):
        tree.sample(0, generator)
    with pytest.raises(ValueError, match="capacity must be at least 1"):
        SumTree(0)
    with pytest.raises(ValueError, match="all priorities are 0"):
        SumTree(3).sample(1, generator)
    np.testing.assert_array_equal(tree._nodes, before)
