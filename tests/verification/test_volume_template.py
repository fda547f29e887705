"""The codec of volume templates: what goes in comes out, and what was not written by it is refused by name."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import EncoderError
from inference.verification.surface import Surface
from inference.verification.volume_cloud import Box
from inference.verification.volume_template import MAX_BYTES, MAX_POINTS, NAMES, UNIT_MM, pack, unpack

HEAD = "<4sBBII"


def surface(name: str, count: int, seed: int, middle: float = 0.0, reach: float = 120.0) -> Surface:
    rng = np.random.default_rng(seed)
    normals = rng.standard_normal((count, 3))
    points = rng.uniform(-reach, reach, (count, 3)) + middle
    return Surface(name, points, normals / np.linalg.norm(normals, axis=1, keepdims=True))


def box() -> Box:
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    return Box(np.column_stack([turn, [12.0, -90.0, 1450.0]]), np.array([240.0, 250.0, 180.0]))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    st.integers(1, 400),
    st.integers(0, 10**6),
    st.floats(-3000, 3000),
)
def test_surfaces_come_back_to_within_half_a_unit(names: list[str], count: int, seed: int, middle: float) -> None:
    given = [surface(name, count, seed + number, middle) for number, name in enumerate(names)]
    field, found = unpack(pack(box(), given))
    np.testing.assert_allclose(field.frame, box().frame, atol=1e-3)
    np.testing.assert_allclose(field.lengths, box().lengths, atol=1e-3)
    assert [one.name for one in found] == names
    for before, after in zip(given, found, strict=True):
        distance = np.linalg.norm(before.points[:, None] - after.points[None], axis=2)
        nearest = distance.argmin(axis=0)
        assert sorted(nearest) == list(range(count))  # every point once: only their order may change
        assert np.abs(before.points[nearest] - after.points).max() <= UNIT_MM / 2 + 1e-6
        assert (before.normals[nearest] * after.normals).sum(axis=1).min() > np.cos(np.radians(1.5))


def test_points_beyond_reach_are_left_out() -> None:
    near, far = surface("bone", 50, 0), surface("skin", 50, 1)
    far.points[:7] += 5000.0
    _, (bone, skin) = unpack(pack(box(), [near, far]))
    assert (len(bone.points), len(skin.points)) == (50, 43)


def test_the_longest_template_can_be_read() -> None:
    data = pack(box(), [surface(name, MAX_POINTS + 5, 0) for name in NAMES])
    assert len(data) <= MAX_BYTES
    assert [len(one.points) for one in unpack(data)[1]] == [MAX_POINTS] * len(NAMES)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_changed_byte_is_noticed(data: st.DataObject) -> None:
    good = pack(box(), [surface("bone", 60, 0), surface("skin", 30, 1)])
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EncoderError) as caught:
        unpack(bytes(bad))
    assert caught.value.reason == ("TEMPLATE_VERSION" if place == 4 else "TEMPLATE_DAMAGED")


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    for candidate in (data, b"MRVT\x01" + data):
        with pytest.raises(EncoderError) as caught:
            unpack(candidate)
        assert caught.value.reason == "TEMPLATE_DAMAGED"


def test_a_cut_template_is_damaged() -> None:
    good = pack(box(), [surface("bone", 200, 0)])
    for length in (0, 3, 13, 14, 40, len(good) // 2, len(good) - 1):
        with pytest.raises(EncoderError) as caught:
            unpack(good[:length])
        assert caught.value.reason == "TEMPLATE_DAMAGED"


def rewritten(change: bytes, offset: int, surfaces: int = 1, claimed: int | None = None) -> bytes:
    """A template with a right checksum whose content was changed."""
    good = pack(box(), [surface("bone", 20, 0)])
    content = bytearray(zlib.decompress(good[struct.calcsize(HEAD) :], -15))
    content[offset : offset + len(change)] = change
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return signed(surfaces, claimed or len(content), deflate.compress(bytes(content)) + deflate.flush())


def signed(surfaces: int, length: int, body: bytes) -> bytes:
    head = struct.pack("<4sBBI", b"MRVT", 1, surfaces, length)
    return head + struct.pack("<I", zlib.crc32(head + body)) + body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rewritten(struct.pack("<f", float("nan")), 0), id="a frame of NaN"),
        pytest.param(rewritten(struct.pack("<f", float("inf")), 4 * 15), id="an origin at infinity"),
        pytest.param(rewritten(struct.pack("<f", 5.0), 0), id="a frame that stretches"),
        pytest.param(rewritten(struct.pack("<f", -1.0), 4 * 12), id="a field of view of negative length"),
        pytest.param(rewritten(struct.pack("<BH", 9, 20), 72), id="a surface without a name"),
        pytest.param(rewritten(struct.pack("<BH", 0, 21), 72), id="more points than bytes"),
        pytest.param(rewritten(struct.pack("<BH", 0, 0), 72), id="no points"),
        pytest.param(rewritten(b"", 0, surfaces=2), id="a surface too many"),
        pytest.param(rewritten(b"", 0, surfaces=0), id="no surface"),
        pytest.param(rewritten(b"", 0, claimed=2**32 - 1), id="4 GB when inflated"),
        pytest.param(rewritten(b"", 0, claimed=7), id="longer than it says"),
    ],
)
def test_content_that_nobody_wrote_is_damaged(data: bytes) -> None:
    with pytest.raises(EncoderError) as caught:
        unpack(data)
    assert caught.value.reason == "TEMPLATE_DAMAGED"


def test_what_inflates_without_end_is_stopped() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = bomb.compress(bytes(50_000_000)) + bomb.flush()
    assert len(body) < MAX_BYTES
    with pytest.raises(EncoderError) as caught:
        unpack(signed(1, 1000, body))
    assert caught.value.reason == "TEMPLATE_DAMAGED"
