import numpy as np
import pytest

from ngu.analysis.coding.bitstream import BitstreamError
from ngu.analysis.coding.residual_code import complete, completed
from ngu.analysis.picture_quality import psnr


def picture(seed=0, shape=(42, 33, 3)):
    generator = np.random.default_rng(seed)
    smooth = np.cumsum(np.cumsum(generator.normal(size=shape), 0), 1)
    return np.clip(128 + 3 * smooth, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("wanted", [25.0, 35.0, 45.0])
def test_a_picture_becomes_as_good_as_asked_and_hardly_better(wanted):
    shown, base = picture(), np.full((42, 33, 3), 128, np.uint8)
    content = complete(shown, base, wanted)
    reached = psnr(shown[None], completed(base, content)[None])[0]
    assert wanted <= reached < wanted + 1.5


def test_better_pictures_take_more_bytes_and_better_bases_fewer():
    shown, base = picture(), np.full((42, 33, 3), 128, np.uint8)
    sizes = [len(complete(shown, base, wanted)) for wanted in (20.0, 30.0, 40.0)]
    assert sizes == sorted(set(sizes))
    near = np.clip(shown.astype(int) + 8, 0, 255).astype(np.uint8)
    assert 0 < len(complete(shown, near, 40.0)) < sizes[2] / 2


def test_nothing_is_written_where_the_base_is_good_already():
    shown = picture()
    assert complete(shown, shown, 60.0) == b""
    assert completed(shown, b"") is shown


def test_what_differs_in_one_place_takes_few_bytes():
    shown = picture(shape=(80, 80, 3))
    base = shown.copy()
    base[10:18, 20:28] = 0
    assert len(complete(shown, base, 50.0)) < len(complete(shown, base * 0, 50.0)) / 10


def test_too_few_bytes_get_a_sentence():
    with pytest.raises(BitstreamError, match="these 2 bytes complete no picture"):
        completed(picture(), b"ab")
