"""Safetensors by hand: the bytes of the original implementation, both ways, and no file that does harm."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from groundzero.reference import safetensors as hand
from groundzero.reference.safetensors import SafetensorsFile, parse_header, read, round_to_bfloat16, write

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=0, max_size=8).filter(
    lambda name: name != "__metadata__"
)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: st_numpy.arrays(
        np.dtype(dtype), st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)
FILES = st.dictionaries(NAMES, ARRAYS, max_size=5)
SAME_FOLDER = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype and array.shape == theirs[name].shape, name
        assert array.tobytes() == theirs[name].tobytes(), name  # not-a-numbers too


def packed(header: bytes | dict[str, Any], data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


# ---------------------------------------------------------------------- both ways


@SAME_FOLDER
@given(tensors=FILES, note=st.sampled_from([None, {"format": "pt"}, {'quo"te': "line\nend é"}]))
def test_the_bytes_are_those_of_the_original(tmp_path: Path, tensors: dict[str, Any], note: Any) -> None:
    path = tmp_path / "a.safetensors"
    write(path, tensors, metadata=note)
    assert path.read_bytes() == safetensors.numpy.save(tensors, note)
    assert list(tmp_path.iterdir()) == [path]


@SAME_FOLDER
@given(tensors=FILES)
def test_what_either_writes_the_other_reads(tmp_path: Path, tensors: dict[str, Any]) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(tensors, path, {"a": "b"})
    assert_same(read(path), tensors)
    write(path, tensors)
    assert_same(safetensors.numpy.load_file(path), tensors)


def test_arrays_of_any_layout_and_byte_order_arrive(tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {"turned": base.T, "strided": base[::2, ::3], "big endian": base.astype(">f4"), "read-only": base.copy()}
    tensors["read-only"].flags.writeable = False
    write(tmp_path / "a", tensors)
    for name, array in read(tmp_path / "a").items():
        np.testing.assert_array_equal(array, tensors[name])
        assert array.flags.writeable and array.flags.aligned and array.flags.c_contiguous and array.dtype.isnative


def test_bfloat16_is_pytorchs_both_ways(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    edges = np.array(
        [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 1, 0x3F808000, 0x3F818000, 0x3F808001], np.uint32
    )
    x = np.concatenate([bits, edges]).view(np.float32)
    theirs = torch.from_numpy(x.copy()).bfloat16()
    numbers = ~np.isnan(x)
    np.testing.assert_array_equal(round_to_bfloat16(x)[numbers], theirs.view(torch.uint16).numpy()[numbers])
    write(tmp_path / "ours", {"x": x, "scalar": np.array(1 / 3)}, bfloat16={"x", "scalar"})
    loaded = safetensors.torch.load_file(tmp_path / "ours")
    assert loaded["x"].dtype == torch.bfloat16 and loaded["scalar"].shape == ()
    np.testing.assert_array_equal(loaded["x"].float().numpy(), theirs.float().numpy())
    safetensors.torch.save_file({"x": theirs}, tmp_path / "theirs")
    widened = read(tmp_path / "theirs")["x"]
    assert widened.dtype == np.float32
    np.testing.assert_array_equal(widened, theirs.float().numpy())


def test_every_bool_byte_but_zero_is_true(tmp_path: Path) -> None:
    header = {"flags": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}}
    (tmp_path / "a").write_bytes(packed(header, b"\x00\x01\x02"))
    assert read(tmp_path / "a")["flags"].tolist() == [False, True, True]


def test_the_note_and_the_table_of_contents_are_there_without_the_numbers(tmp_path: Path) -> None:
    write(tmp_path / "a", {"w": np.zeros((2, 3), np.float32), "n": np.array(7)}, metadata={"made by": "hand"})
    with SafetensorsFile(tmp_path / "a") as file:
        assert file.metadata == {"made by": "hand"}
        assert {name: (info.dtype, info.shape) for name, info in file.tensors.items()} == {
            "n": ("I64", ()),
            "w": ("F32", (2, 3)),
        }


@SAME_FOLDER
@given(
    array=st_numpy.arrays(np.float32, st_numpy.array_shapes(max_side=5)),
    start=st.integers(-7, 7),
    stop=st.integers(-7, 7),
)
def test_some_rows_are_those_rows(tmp_path: Path, array: Any, start: int, stop: int) -> None:
    write(tmp_path / "a", {"before": np.ones(3, np.float64), "x": array})
    with SafetensorsFile(tmp_path / "a") as file:
        for rows in (slice(start, stop), slice(start, None), slice(None, stop)):
            found = file.read("x", rows)
            assert found.shape == array[rows].shape and found.tobytes() == array[rows].tobytes()


def test_rows_that_cannot_be_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", {"scalar": np.array(1.0), "x": np.zeros((4, 2))})
    with SafetensorsFile(tmp_path / "a") as file:
        with pytest.raises(ValueError, match=r"scalar of shape \[\] has no rows"):
            file.read("scalar", slice(0, 1))
        with pytest.raises(ValueError, match=r"x of shape \[4, 2\] has no rows slice\(0, 4, 2\)"):
            file.read("x", slice(0, 4, 2))
        with pytest.raises(KeyError, match="absent"):
            file.read("absent")


def test_a_file_that_shrinks_while_open_is_an_error_and_no_crash(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": np.zeros(10_000)})
    with SafetensorsFile(tmp_path / "a") as file:
        with (tmp_path / "a").open("r+b") as other:
            other.truncate(300)
        with pytest.raises(ValueError, match=r"cut short while it was open: x"):
            file.read("x")


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes"),
        (b"1234567", "has 7 bytes"),
        ((2**63).to_bytes(8, "little"), "claims 9223372036854775808 bytes; the format allows 100000000"),
        ((100).to_bytes(8, "little") + b"{}", "claims 100 bytes, and 2 follow"),
        (packed(b""), "does not begin with a brace"),
        (packed(b"[]"), "does not begin with a brace"),
        (packed(b" {}"), "does not begin with a brace"),
        (packed(b"\x80\x04\x95pickle"), "does not begin with a brace"),
        (packed(b"{"), "not JSON"),
        (packed(b"{} {}"), "not JSON"),
        (packed(b'{"\xff": 1}'), "not JSON"),
        (packed(b'{"a":' * 200_000), "nested too deeply"),
        (packed(b'{"a": ' + b"9" * 5000 + b"}"), "not JSON"),
        (packed(b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 0]}}'), "NaN is not a whole number"),
        (packed(b'{"a": {"dtype": "F32", "shape": [1e1], "data_offsets": [0, 0]}}'), "1e1 is not a whole number"),
        (packed(b'{"a": 1, "a": 2}'), "a key stands twice"),
        (packed({"a": 1}), "'a' is not described by"),
        (packed({"a": {"dtype": "F32", "shape": [0]}}), "'a' is not described by"),
        (packed({"__metadata__": {"n": 1}}), "__metadata__ does not hold strings only"),
        (packed({"__metadata__": [1]}), "__metadata__ does not hold strings only"),
        (packed(b'{"\\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'), "surrogate"),
        (packed(b'{"__metadata__": {"a": "\\udfff"}}'), "surrogate"),
        (packed({"a": {"dtype": "F8_E4M3", "shape": [0], "data_offsets": [0, 0]}}), "'a' has the dtype 'F8_E4M3'"),
        (packed({"a": {"dtype": ["F32"], "shape": [0], "data_offsets": [0, 0]}}), "'a' has the dtype"),
        (packed({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}), "'a' has a shape"),
        (packed({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234"), "'a' has a shape"),
        (packed({"a": {"dtype": "F32", "shape": "3", "data_offsets": [0, 0]}}), "'a' has a shape"),
        (packed({"a": {"dtype": "F32", "shape": [1] * 33, "data_offsets": [0, 4]}}, b"1234"), "'a' has a shape"),
        (packed({"a": {"dtype": "F32", "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}}), "'a' has a shape"),
        (packed({"a": {"dtype": "F32", "shape": [2**48], "data_offsets": [0, 0]}}), "'a' has a shape"),
        (packed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"), "'a' has data_offsets"),
        (packed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, b"1234"), "'a' has data_offsets"),
        (packed({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"), "takes 8 bytes"),
        (packed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"123"), "take 4 bytes, and 3 follow"),
        (packed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"12345"), "take 4 bytes, and 5 follow"),
        (packed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"), "'a' leaves a gap"),
        (
            packed(
                {
                    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                    "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
                },
                bytes(12),
            ),
            "'b' overlaps the one before it: it starts at 4, not at 8",
        ),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"hostile\.safetensors") as raised:
        read(path)
    assert message in str(raised.value)
    str(raised.value).encode()  # the message itself can be printed
    assert len(str(raised.value)) < 600


def sound_file() -> tuple[bytes, bytes]:
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.int8), "c": np.zeros((0, 4))}
    raw = safetensors.numpy.save(tensors, {"format": "pt"})
    length = int.from_bytes(raw[:8], "little")
    return raw[8 : 8 + length], raw[8 + length :]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["F32", "I8"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated_headers(draw: Any) -> bytes:
    """A sound header with a byte changed, a piece cut or repeated, or a value replaced by any other."""
    raw, _ = sound_file()
    kind = draw(st.sampled_from(["bytes", "cut", "repeat", "value", "value", "value"]))
    if kind == "bytes":
        changed = bytearray(raw)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
        return bytes(changed)
    start, stop = sorted((draw(st.integers(0, len(raw))), draw(st.integers(0, len(raw)))))
    if kind == "cut":
        return raw[:start] + raw[stop:]
    if kind == "repeat":
        return raw[:stop] + raw[start:]
    content = json.loads(raw)
    target, key = content, draw(st.sampled_from([*content, "new"]))
    if key in content and draw(st.booleans()):
        target, key = content[key], draw(st.sampled_from(list(content[key])))
    if isinstance(target.get(key), list) and draw(st.booleans()) and target[key]:
        target, key = target[key], draw(st.integers(0, len(target[key]) - 1))
        target[key] = draw(JSON)
    else:
        target[key] = draw(JSON)
    return json.dumps(content).encode("utf-8", "surrogatepass")


@settings(max_examples=1500, deadline=None)
@given(header=mutated_headers())
def test_a_mutated_header_is_refused_or_consistent_and_the_original_then_reads_the_same(header: bytes) -> None:
    _, data = sound_file()
    try:
        found = parse_header(header, len(data))
    except ValueError as error:
        str(error).encode()
        return
    end = 0
    for name, info in found.tensors.items():  # never a byte outside, none twice, none unclaimed
        assert info.start == end, name
        assert info.stop - info.start == math.prod(info.shape) * hand.STORED[info.dtype].itemsize
        end = info.stop
    assert end == len(data)
    theirs = safetensors.torch.load(packed(header, data))
    assert {name: info.shape for name, info in found.tensors.items()} == {n: tuple(t.shape) for n, t in theirs.items()}


@SAME_FOLDER
@given(junk=st.binary(max_size=200), length=st.integers(0, 300))
def test_any_bytes_are_read_or_refused(tmp_path: Path, junk: bytes, length: int) -> None:
    for content in (junk, length.to_bytes(8, "little") + junk, packed(b"{" + junk)):
        (tmp_path / "a").write_bytes(content)
        try:
            read(tmp_path / "a")
        except ValueError as error:
            assert str(tmp_path / "a") in str(error)


def test_what_cannot_be_written_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(path, {"x": np.zeros(2)})
    before = path.read_bytes()
    for tensors, options, message in [
        ({"z": np.zeros(2, np.complex64)}, {}, "z is complex64, which safetensors cannot hold"),
        ({"o": np.array([{}])}, {}, "o is object"),
        ({"__metadata__": np.zeros(2)}, {}, "cannot be called __metadata__"),
        ({"x": np.zeros(2)}, {"metadata": {"step": 3}}, "are strings"),
        ({"\ud800": np.zeros(2)}, {}, "surrogate"),
    ]:
        with pytest.raises(ValueError, match=message):
            write(path, tensors, **options)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent")


def test_the_demonstration_runs_and_explains() -> None:
    done = subprocess.run([sys.executable, "-m", hand.__name__], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    for phrase in ["the header has 160 bytes", "One row alone", "BF16 keeps", "a pickle", "overlaps", "twice"]:
        assert phrase in done.stdout
