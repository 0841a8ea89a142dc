"""Quantisation by hand: nobody is further than half a step from home, and the layer computes what its weights say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from groundzero.reference import quantize as hand
from groundzero.reference.quantize import QuantizedLinear, pack_int4, quantize, quantize_weights, unpack_int4

SHARINGS: list[Any] = ["tensor", "row", 1, 2, 4]
BITS: list[Any] = [4, 8]


def arrays(dtype: Any) -> Any:
    """Up to three axes, rows of 4, 8 or 12; numbers of every size from nothing to the largest."""
    shapes = st.tuples(st.sampled_from([(), (1,), (3,), (2, 3)]), st.sampled_from([4, 8, 12])).map(
        lambda s: (*s[0], s[1])
    )
    width = 8 * np.dtype(dtype).itemsize
    most = float(np.finfo(dtype).max / 2)
    numbers = st.floats(-most, most, width=width) | st.floats(-2, 2, width=width)
    return st_numpy.arrays(dtype, shapes, elements=numbers)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=300, deadline=None)
@given(data=st.data(), bits=st.sampled_from(BITS), sharing=st.sampled_from(SHARINGS))
def test_nobody_is_further_than_half_a_step_from_home(dtype: Any, data: Any, bits: Any, sharing: Any) -> None:
    x = data.draw(arrays(dtype))
    quantized = quantize(x, bits, sharing)
    back = quantized.dequantize()
    assert back.shape == x.shape and back.dtype == x.dtype
    scale_G1 = quantized.scale_G1.astype(np.longdouble)
    off_GS = np.abs(back.astype(np.longdouble) - x.astype(np.longdouble)).reshape(len(scale_G1), -1)
    rounding = 2**bits * np.finfo(dtype).eps  # of the quotient and of the product, in steps
    assert (off_GS <= scale_G1 * (0.5 + rounding)).all()
    assert (back[x == 0] == 0).all(), "0 comes back as exactly 0"


@settings(max_examples=200, deadline=None)
@given(data=st.data(), bits=st.sampled_from(BITS), sharing=st.sampled_from(SHARINGS))
def test_the_grid_is_no_wider_than_the_numbers_and_zero(data: Any, bits: Any, sharing: Any) -> None:
    x = data.draw(arrays(np.float64))
    quantized = quantize(x, bits, sharing)
    x_GS = x.reshape(len(quantized.scale_G1), -1)
    range_G1 = x_GS.max(axis=1, keepdims=True, initial=0) - x_GS.min(axis=1, keepdims=True, initial=0)
    needed_G1 = np.maximum(range_G1 / (2**bits - 1), np.finfo(np.float64).tiny)
    something = range_G1 > 0
    assert (quantized.scale_G1[something] <= needed_G1[something] * (1 + 1e-12)).all()
    assert (quantized.scale_G1[~something] == 1).all()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), bits=st.sampled_from(BITS), sharing=st.sampled_from(SHARINGS))
def test_codes_are_on_the_grid_of_pytorch(data: Any, bits: Any, sharing: Any) -> None:
    x = data.draw(st_numpy.arrays(np.float32, (3, 8), elements=st.floats(-4, 4, width=16)))
    quantized = quantize(x, bits, sharing)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    theirs = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(x.reshape(len(quantized.scale_G1), -1)),
        torch.from_numpy(quantized.scale_G1[:, 0]),
        torch.from_numpy(quantized.zero_G1[:, 0].astype(np.int32)),
        axis=0,
        quant_min=low,
        quant_max=high,
    )
    ours = quantized.dequantize().reshape(theirs.shape)
    # PyTorch multiplies by 1 / scale, so that a number in the middle between two points may go to the other one.
    apart_GS = np.abs(ours - theirs.numpy()) / quantized.scale_G1
    middle_GS = np.abs(np.abs(ours - x.reshape(ours.shape)) / quantized.scale_G1 - 0.5) < 1e-4
    assert ((apart_GS < 1e-3) | middle_GS).all()
    assert low <= quantized.codes().min() and quantized.codes().max() <= high


@given(codes=st_numpy.arrays(np.int8, st.integers(0, 9), elements=st.integers(-8, 7)))
def test_two_codes_share_a_byte_and_come_back(codes: Any) -> None:
    packed = pack_int4(codes)
    assert packed.dtype == np.uint8 and packed.size == -(-codes.size // 2)
    np.testing.assert_array_equal(unpack_int4(packed, codes.size), codes)


def test_every_pair_of_codes_has_its_own_byte() -> None:
    pairs = np.stack(np.meshgrid(np.arange(-8, 8), np.arange(-8, 8)), axis=-1).reshape(-1).astype(np.int8)
    packed = pack_int4(pairs)
    assert sorted(packed.tolist()) == list(range(256))
    np.testing.assert_array_equal(unpack_int4(packed, pairs.size), pairs)
    assert pack_int4(np.array([-1, 2], np.int8)).tolist() == [0x2F], "the first is in the lower half"


def test_an_example_worked_out_by_hand() -> None:
    quantized = quantize(np.array([[-1.0, 0.0, 0.5, 2.0]]), 4)  # a range of 3 over 15 steps
    assert quantized.scale_G1[0, 0] == pytest.approx(0.2)
    assert quantized.zero_G1.tolist() == [[-3]]  # -8 + 1 / 0.2
    assert quantized.codes().tolist() == [[-8, -3, -1, 7]]  # 0.5 is 2.5 steps, and ties go to the even one
    assert quantized.dequantize() == pytest.approx(np.array([[-1.0, 0.0, 0.4, 2.0]]))


@pytest.mark.parametrize("bits", BITS)
def test_memory_is_what_was_promised(bits: Any) -> None:
    quantized = quantize(np.ones((64, 96), np.float32), bits, 32)
    assert quantized.packed.nbytes == 64 * 96 * bits // 8
    assert quantized.nbytes == quantized.packed.nbytes + 64 * 3 * (4 + 1)


@pytest.mark.parametrize("special", [0.0, 5.0, -3.0, 1e-45, 1.7e38])
@pytest.mark.parametrize("bits", BITS)
def test_constant_arrays_and_extremes_survive(special: float, bits: Any) -> None:
    x = np.full((2, 4), special, np.float32)
    back = quantize(x, bits).dequantize()
    assert np.abs(back.astype(np.float64) - x).max() <= max(abs(special) / 2**bits, np.finfo(np.float32).tiny)


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.sampled_from([4, 8])),
    rows=st.sampled_from([(0,), (1,), (3,), (2, 3)]),
    bits=st.sampled_from(BITS),
    sharing=st.sampled_from(SHARINGS),
    bias=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_layer_computes_what_its_weights_say(
    shape: Any, rows: Any, bits: Any, sharing: Any, bias: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight_OI, bias_O = rng.normal(size=shape), rng.normal(size=shape[0]) if bias else None
    x_NI = rng.normal(size=(*rows, shape[1]))
    kept = weight_OI.copy()
    layer = QuantizedLinear(weight_OI, bias_O, bits=bits, sharing=sharing)
    expected = x_NI @ layer.weight.dequantize().T + (0 if bias_O is None else bias_O)
    y_NO = layer(x_NI)
    assert y_NO.shape == (*rows, shape[0])
    np.testing.assert_allclose(y_NO, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(weight_OI, kept)


def test_finer_sharing_never_hurts_and_eight_bits_beat_four() -> None:
    rng = np.random.default_rng(0)
    weight_OI = rng.normal(size=(64, 64)) * rng.lognormal(size=(64, 64))
    x_NI = rng.normal(size=(32, 64))

    def error(bits: Any, sharing: Any) -> float:
        layer = QuantizedLinear(weight_OI, bits=bits, sharing=sharing)
        return float(np.linalg.norm(layer(x_NI) - x_NI @ weight_OI.T) / np.linalg.norm(x_NI @ weight_OI.T))

    for bits in BITS:
        errors = [error(bits, sharing) for sharing in ("tensor", "row", 16, 4)]
        assert errors == sorted(errors, reverse=True)
    assert error(8, "row") < 0.1 * error(4, "row")


def test_the_layer_keeps_float32() -> None:
    layer = QuantizedLinear(np.eye(4, dtype=np.float32), np.ones(4, np.float32), bits=4, sharing=2)
    assert layer(np.ones((1, 4), np.float32)).dtype == np.float32


def test_of_a_model_the_matrices_in_blocks_are_quantised() -> None:
    weights = {
        "embedding.weight": np.ones((4, 4)),
        "blocks.0.attention.query.weight": np.ones((4, 4)),
        "blocks.0.attention.query.bias": np.ones(4),
        "head.weight": np.ones((4, 4)),
    }
    found = quantize_weights(weights, 4, 2)
    assert [name for name, value in found.items() if isinstance(value, hand.Quantized)] == [
        "blocks.0.attention.query.weight"
    ]
    assert found["head.weight"] is weights["head.weight"]


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones(4), {"bits": 3}, "4 or 8 bits, not 3"),
        (np.ones((2, 6)), {"sharing": 4}, "groups of 4 do not divide a row of 6"),
        (np.ones((2, 6)), {"sharing": 0}, "groups of 0"),
        (np.ones((0, 6)), {}, r"shape \(0, 6\) is empty"),
        (np.array([1.0, np.nan]), {}, "not finite"),
        (np.array([1.0, -np.inf]), {}, "not finite"),
        (np.array([1.0, 3e38], np.float32), {}, "or hardly so"),
    ],
)
def test_what_cannot_be_quantised_is_refused(x: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize(x, **options)


def test_a_layer_needs_a_matrix() -> None:
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        QuantizedLinear(np.ones(4))


def test_the_demonstration_runs_and_explains() -> None:
    done = subprocess.run([sys.executable, "-m", hand.__name__], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    for phrase in ["Seven weights in 4 bits", "scale / 2", "The grid", "one scale per", "32 weights", "times smaller"]:
        assert phrase in done.stdout
