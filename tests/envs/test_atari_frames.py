import numpy as np
import pytest

from ngu_envs.atari_frames import AreaResize, area_weights


def slow_mean(frame, row, column):
    """Mean over the source area of one target pixel, in float64."""
    height, width = frame.shape
    top, bottom = row * height / 84, (row + 1) * height / 84
    left, right = column * width / 84, (column + 1) * width / 84
    total = 0.0
    for i in range(int(top), min(int(np.ceil(bottom)), height)):
        for j in range(int(left), min(int(np.ceil(right)), width)):
            area = (min(i + 1, bottom) - max(i, top)) * (min(j + 1, right) - max(j, left))
            total += max(area, 0.0) * frame[i, j]
    return total / ((bottom - top) * (right - left))


@pytest.mark.parametrize("height", [210, 214, 220, 230, 250])
def test_each_pixel_is_the_mean_of_its_area(height):
    generator = np.random.default_rng(height)
    frame = generator.integers(0, 256, size=(height, 160), dtype=np.uint8)
    resized = AreaResize(height)(frame)
    for row, column in generator.integers(0, 84, size=(200, 2)):
        assert abs(slow_mean(frame, row, column) - resized[row, column]) <= 0.5 + 1e-9


def test_a_flat_picture_stays_as_it_is():
    for level in (0, 1, 127, 255):
        assert (AreaResize(210)(np.full((210, 160), level, np.uint8)) == level).all()


def test_a_mean_between_two_levels_goes_to_the_even_one():
    # The first pixel covers 2.5 rows: a row of 5 / 4 gives a mean of 0.5, one of 15 / 4 one of 1.5.
    frame = np.zeros((210, 160), np.uint8)
    weights = area_weights(5, 2)
    assert weights.T.tolist() == [[2, 2, 1, 0, 0], [0, 0, 1, 2, 2]]
    frame[2] = 5  # weight 1 of 5: a mean of exactly 1
    assert AreaResize(210)(frame)[0, 0] == 1
    frame[2], frame[0, :] = 1, 1  # (2 + 1) / 5 = 0.6
    assert AreaResize(210)(frame)[0, 0] == 1
    columns = area_weights(40, 21)
    assert columns[:2, 0].tolist() == [21, 19]
    frame[:] = 0
    frame[:2, 0] = 1  # 4 of 5 rows, 21 of 40 columns: 0.42
    assert AreaResize(210)(frame)[0, 0] == 0
