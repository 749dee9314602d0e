import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngu.analysis.coding.cells import MOST_CELLS, count_cells, quantise


def test_cells_by_hand():
    # Step 1/2: 0.1 -> 0, 0.3 -> 1, 0.7 -> 1, -0.6 -> -1; cells for -1, 0, 1 and two escapes.
    cells = count_cells(np.array([0.1, 0.3, 0.7, -0.6]), 0.5)
    assert (cells.lowest, len(cells)) == (-1, 5)
    assert cells.probabilities.tolist() == pytest.approx(
        [0.5 / 6.5, 1.5 / 6.5, 1.5 / 6.5, 2.5 / 6.5, 0.5 / 6.5]
    )
    assert cells.values.tolist() == pytest.approx([-1.0, -0.6, 0.1, 0.5, 1.0])
    integers = np.array([-9, -1, 0, 1, 4])
    index = cells.index(integers)
    assert index.tolist() == [0, 1, 2, 3, 4]
    assert cells.excess(integers, index).tolist() == [7, 0, 0, 0, 2]
    assert cells.decoded(integers, index).tolist() == pytest.approx([-4.5, -0.6, 0.1, 0.5, 2.0])


@given(st.lists(st.integers(-(2**29), 2**29), min_size=1))
def test_cells_and_excesses_give_the_integers_back(integers):
    cells = count_cells(np.array([-3.0, 0.0, 5.0]), 1.0)
    array = np.array(integers)
    index = cells.index(array)
    assert cells.integers(index, cells.excess(array, index)).tolist() == integers


def test_far_outliers_do_not_take_the_memory():
    cells = count_cells(np.array([*range(100), 1e12]), 1.0)
    assert len(cells) <= MOST_CELLS
    assert cells.index(np.array([50, 99])).tolist() == [51, 100]
    assert quantise(np.array([[1e30]]), 1.0).tolist() == [[2**30]]
