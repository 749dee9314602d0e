import numpy as np
import pytest
import torch
from torch.nn import functional

from ngu.world.convolutions import (
    PictureDecoder,
    PictureEncoder,
    PictureShape,
    TransposedConvolution,
    channels_first,
    picture_shape,
    resized,
)


def generator():
    return torch.Generator().manual_seed(0)


def test_the_layers_for_64_pixels_are_those_of_world_models():
    shape = PictureShape(3, 64, 64)
    encoder = PictureEncoder(shape, generator=generator())
    decoder = PictureDecoder(32, shape, generator=generator())
    weights = [tuple(w.shape) for name, w in encoder.named_parameters() if "weight" in name]
    assert weights == [(32, 3, 4, 4), (64, 32, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4)]
    assert encoder.out_features == 1024
    assert decoder.first.weight.shape == (1024, 32)
    weights = [tuple(layer.weight.shape) for layer in decoder.layers if hasattr(layer, "weight")]
    assert weights == [(1024, 128, 5, 5), (128, 64, 5, 5), (64, 32, 6, 6), (32, 3, 6, 6)]


@pytest.mark.parametrize("kernel", [(5, 5), (6, 6), (5, 6)])
@pytest.mark.parametrize("sides", [(1, 1), (1, 3), (4, 7)])
def test_a_pixel_grows_by_a_matrix_as_by_a_convolution(kernel, sides):
    layer = TransposedConvolution(3, 2, kernel, generator=generator())
    torch.nn.init.normal_(layer.bias, generator=generator())
    x = torch.randn(4, 3, *sides, generator=generator())
    expected = functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)
    torch.testing.assert_close(layer(x), expected)


def test_values_keep_their_size_through_the_decoder():
    decoder = PictureDecoder(32, PictureShape(3, 64, 64), generator=generator())
    logits = (decoder(torch.randn(64, 32, generator=generator())) - 0.5) / 0.25
    assert 0.2 < logits.std() < 3


def test_pixels_that_were_dark_so_far_still_learn():
    """However dark a pixel is believed to be, its error reaches the weights by the same slope."""
    decoder = PictureDecoder(4, PictureShape(1, 16, 16), generator=generator())
    torch.nn.init.constant_(decoder.layers[-1].bias, -20.0)
    (1 - decoder(torch.zeros(1, 4))).square().sum().backward()
    bias = decoder.layers[-1].bias
    torch.testing.assert_close(bias.grad, torch.tensor([-2 * 5.5 * 0.25 * 256]))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((60, 80, 3), (3, 60, 80)),
        ((3, 60, 80), (3, 60, 80)),
        ((84, 84), (1, 84, 84)),
        ((4, 84, 84), (4, 84, 84)),
        ((16, 16, 1), (1, 16, 16)),
    ],
)
def test_where_the_channels_are(shape, expected):
    assert picture_shape(shape) == expected
    assert channels_first(torch.zeros(2, *shape, dtype=torch.uint8)).shape == (2, *expected)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((15, 64, 3), "at least 16 pixels high and wide, got 15 x 64"),
        ((64,), r"must have shape \[H, W\], \[H, W, C\] or \[C, H, W\], got \[64\]"),
    ],
)
def test_what_is_no_picture(shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        picture_shape(shape)


@pytest.mark.parametrize("shape", [(5, 96, 96, 3), (5, 3, 96, 96), (5, 96, 96)])
def test_images_are_averaged(shape):
    smaller = resized(np.full(shape, 200, np.uint8), 64)
    assert smaller.shape == tuple(64 if n == 96 else n for n in shape)
    assert (smaller == 200).all()
    axis = shape.index(96)
    gradient = np.broadcast_to(
        np.arange(96, dtype=np.uint8), (*shape[:axis], *shape[axis + 1 :], 96)
    )
    found = resized(np.ascontiguousarray(np.moveaxis(gradient, -1, axis)), 64)
    middle = np.moveaxis(found, axis, 0)[32]
    assert ((middle == 48) | (middle == 49)).all()


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_pictures_of_that_size_stay():
    pictures = noise(3, 64, 64, 3)
    np.testing.assert_array_equal(resized(pictures, 64), pictures)
    np.testing.assert_array_equal(resized(noise(3, 21, 21, 3), None), noise(3, 21, 21, 3))
