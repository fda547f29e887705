"""The enhancement chain: every step keeps shape and type, the empty chain changes nothing, wrong words are named."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.imaging.enhance import STEPS, parse_chain

WRITTEN = ["grey", "clahe", "clahe:clip=3,tiles=4", "gaussian:sigma=0.8", "canny", "canny:opacity=1", "local-contrast"]


@st.composite
def pictures(draw: st.DrawFn) -> NDArray[np.uint8]:
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.integers(0, draw(st.integers(1, 256)), (rows, columns, 3), np.uint8)


def soft(seed: int, size: int = 64) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    values = cv2.GaussianBlur(rng.standard_normal((size, size)).astype(np.float32), (0, 0), 3)
    grey = (255 * (values - values.min()) / (values.max() - values.min())).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@given(picture=pictures(), steps=st.lists(st.sampled_from(WRITTEN), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_chain_keeps_shape_type_and_its_input(picture: NDArray[np.uint8], steps: list[str]) -> None:
    before = picture.copy()
    enhance = parse_chain(steps)
    found = enhance(picture)
    assert (found.shape, found.dtype) == (picture.shape, np.uint8)
    assert np.array_equal(picture, before)
    assert np.array_equal(found, enhance(picture))


@given(picture=pictures())
@settings(max_examples=30, deadline=None)
def test_no_step_is_no_change_and_grey_twice_is_grey_once(picture: NDArray[np.uint8]) -> None:
    assert np.array_equal(parse_chain([])(picture), picture)
    once = parse_chain(["grey"])(picture)
    assert np.array_equal(parse_chain(["grey", "grey"])(picture), once)
    assert (once[..., 0] == once[..., 2]).all()


@pytest.mark.parametrize("step", ["clahe", "gaussian", "canny", "local-contrast"])
def test_what_is_grey_stays_grey(step: str) -> None:
    found = parse_chain([step])(soft(1))
    assert np.array_equal(found[..., 0], found[..., 1])
    assert not np.array_equal(found, soft(1))


def test_clahe_raises_the_contrast_of_a_dull_picture_and_leaves_its_hues() -> None:
    dull = (soft(2) // 6 + 100).astype(np.uint8)
    assert parse_chain(["clahe"])(dull).std() > 1.5 * dull.std()
    red = dull.copy()
    red[..., 1:] //= 2
    found = parse_chain(["clahe"])(red).astype(int)
    assert (found[..., 0] > found[..., 1]).mean() > 0.99


def test_edges_are_drawn_where_edges_are_and_nowhere_else() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = 120
    found = parse_chain(["canny:opacity=1"])(picture)
    changed = np.flatnonzero((found != picture).any(axis=(0, 2)))
    assert changed.tolist() in ([19], [20], [19, 20])
    assert found[:, changed].max() == 255
    assert np.array_equal(parse_chain(["canny:opacity=0"])(picture), picture)


def test_local_contrast_forgets_exposure() -> None:
    picture = soft(3, 128)
    ramp = np.linspace(0.5, 1.0, 128)[None, :, None]
    exposed = (20 + 0.7 * picture * ramp).astype(np.uint8)
    enhance = parse_chain(["local-contrast"])
    before = np.abs(picture.astype(float) - exposed).mean()
    after = np.abs(enhance(picture).astype(float) - enhance(exposed)).mean()
    assert after < before / 3


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("sharpen", "'sharpen'"),
        ("clahe:clip=0", "clip"),
        ("clahe:clip=much", "much"),
        ("clahe:clip=nan", "clip"),
        ("clahe:size=3", "size"),
        ("grey:sigma=1", "no parameters"),
        ("gaussian:sigma", "sigma"),
    ],
)
def test_a_wrong_word_is_named(step: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_chain([step])


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (0, 8, 3)])
def test_a_picture_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        parse_chain(["grey"])(np.zeros(shape, np.uint8))


def test_every_step_is_written_here() -> None:
    assert {step.partition(":")[0] for step in WRITTEN} == set(STEPS)
