"""The layer against torch.nn.LSTM, and its hand-written gradient against finite differences."""

import torch

from ngu.lstm import ResettableLSTM, _Unroll


def make(input_size: int, hidden_size: int) -> ResettableLSTM:
    return ResettableLSTM(input_size, hidden_size, generator=torch.Generator().manual_seed(0))


def library_lstm(layer: ResettableLSTM, input_size: int) -> torch.nn.LSTM:
    reference = torch.nn.LSTM(input_size, layer.hidden_size)
    parameters = {
        "weight_ih_l0": layer.weight_input,
        "weight_hh_l0": layer.weight_hidden,
        "bias_ih_l0": layer.bias,
        "bias_hh_l0": torch.zeros_like(layer.bias),
    }
    reference.load_state_dict({k: v.detach().clone() for k, v in parameters.items()})
    return reference


def test_outputs_and_gradients_equal_the_library_layer_without_resets():
    layer = make(5, 7)
    reference = library_lstm(layer, 5)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(6, 3, 5, generator=generator)
    state = torch.randn(2, 3, 7, generator=generator)
    first = torch.zeros(6, 3, dtype=torch.bool)
    outputs, last = layer(inputs, first, state)
    expected, (hidden, cell) = reference(inputs, (state[:1], state[1:]))
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(last, torch.cat((hidden, cell)))
    (outputs.square().sum() + last.sum()).backward()
    (expected.square().sum() + hidden.sum() + cell.sum()).backward()
    torch.testing.assert_close(layer.weight_input.grad, reference.weight_ih_l0.grad)
    torch.testing.assert_close(layer.weight_hidden.grad, reference.weight_hh_l0.grad)
    torch.testing.assert_close(layer.bias.grad, reference.bias_ih_l0.grad)


def test_a_new_episode_inside_the_sequence_starts_from_zero():
    layer = make(4, 6)
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(5, 2, 4, generator=generator)
    first = torch.zeros(5, 2, dtype=torch.bool)
    first[3, 1] = True
    outputs, last = layer(inputs, first, torch.randn(2, 2, 6, generator=generator))
    fresh, fresh_last = layer(
        inputs[3:, 1:], torch.zeros(2, 1, dtype=torch.bool), torch.zeros(2, 1, 6)
    )
    torch.testing.assert_close(outputs[3:, 1:], fresh)
    torch.testing.assert_close(last[:, 1:], fresh_last)


def test_the_written_out_gradient_equals_finite_differences_with_resets():
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    keep = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    arguments = (draw(4, 2, 12), draw(12, 3), keep.unsqueeze(-1), draw(2, 3), draw(2, 3))
    assert torch.autograd.gradcheck(_Unroll.apply, arguments)


def test_bfloat16_products_stay_near_float32():
    layer = make(16, 32)
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(10, 4, 16, generator=generator)
    first = torch.rand(10, 4, generator=generator) < 0.2
    state = torch.zeros(2, 4, 32)
    exact, _ = layer(inputs, first, state)
    rounded, _ = layer(inputs.bfloat16(), first, state)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(exact, rounded, atol=0.02, rtol=0.0)
