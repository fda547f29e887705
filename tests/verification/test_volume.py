"""Do two scans show one body? Phantom heads scanned anew, other heads, and what must not be taken for a body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from config.errors import EncoderError, ImagingError
from inference.types import LoadedSeries
from inference.verification.overlay_volume import SIZE
from inference.verification.protocol import Template, Verifier
from inference.verification.volume import VolumeVerifier
from tests.verification.volumes import apart, moved, phantom_head, series

VERIFIER = VolumeVerifier()


def template(volume: LoadedSeries) -> Template:
    made = VERIFIER.template(volume)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def reference() -> Template:
    return template(phantom_head(1))


@pytest.fixture(scope="module")
def strangers() -> list[Template]:
    return [template(phantom_head(number)) for number in (2, 3)]


def test_it_is_a_verifier(reference: Template) -> None:
    assert isinstance(VERIFIER, Verifier)
    assert (reference.verifier, reference.version, reference.modality) == ("volume", VERIFIER.version, "CT")
    assert 4_000 < len(reference.data) < 20_000


def test_another_visit_is_the_same_head_and_another_head_is_not(reference: Template, strangers: list[Template]) -> None:
    own = VERIFIER.score(template(phantom_head(1, 1)), reference)
    others = [VERIFIER.score(one, reference) for one in strangers]
    assert own > 0.6 > 0.45 > max(others)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"degrees": (30.0, 0.0, 0.0)}, id="chin on the chest"),
        pytest.param({"degrees": (-20.0, 20.0, -25.0)}, id="turned about all axes"),
        pytest.param({"spacing": (5.0, 1.0, 1.0)}, id="slices of 5 mm"),
        pytest.param({"keep": (0.35, 1.0), "degrees": (8.0, 5.0, -9.0)}, id="from above the chin"),
        pytest.param({"keep": (0.55, 1.0), "degrees": (8.0, 5.0, -9.0)}, id="from the brow"),
        pytest.param({"keep": (0.0, 0.55), "degrees": (8.0, 5.0, -9.0)}, id="face without a vault"),
        pytest.param({"noise": 60.0}, id="noise"),
    ],
)
def test_a_known_motion_is_found(
    reference: Template, strangers: list[Template], change: dict[str, tuple[float, float, float]]
) -> None:
    volume, truth = moved(phantom_head(1), **change)
    probe = template(volume)
    found = VERIFIER.compare(probe, reference)
    millimetres, degrees = apart(found.transform, truth, volume)
    assert millimetres < 1.0
    assert degrees < 1.0
    assert found.score > 0.55 > max(VERIFIER.score(probe, one) for one in strangers)


@pytest.mark.parametrize("size", [0.93, 1.08])
def test_a_larger_or_smaller_head_is_another(reference: Template, size: float) -> None:
    assert VERIFIER.score(template(moved(phantom_head(1), size=size)[0]), reference) < 0.35


def test_both_ways_round_are_one_comparison(reference: Template, strangers: list[Template]) -> None:
    for probe in (template(phantom_head(1, 1)), strangers[0]):
        there, back = VERIFIER.compare(probe, reference), VERIFIER.compare(reference, probe)
        assert there.score == back.score == VERIFIER.score(probe, reference) == VERIFIER.score(reference, probe)
        np.testing.assert_allclose(there.transform @ back.transform, np.eye(4), atol=1e-9)
        turn = there.transform[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) > 0


def test_a_template_agrees_with_itself(reference: Template) -> None:
    found = VERIFIER.compare(reference, reference)
    assert found.score > 0.9
    assert found.details["bone_residual_mm"] < 0.05
    np.testing.assert_allclose(found.transform, np.eye(4), atol=0.01)


def test_the_overlay_shows_what_agrees(reference: Template, strangers: list[Template]) -> None:
    def green(probe: Template) -> float:
        picture = VERIFIER.compare(probe, reference).overlay
        assert picture.dtype == np.uint8
        assert picture.shape[1:] == (3 * SIZE, 3)
        views = picture[:SIZE].astype(int)
        red, green, blue = views[..., 0], views[..., 1], views[..., 2]
        return float((green - np.maximum(red, blue) > 60).mean())

    assert green(template(phantom_head(1, 1))) > 5 * green(strangers[0])


def test_a_shared_table_makes_no_match() -> None:
    """Two heads at the very same place, on the same thick table, cut at the same heights."""
    heads = []
    for number in (2, 3):
        pixels = phantom_head(number).pixels[-70:, :150, :150].copy()
        pixels[:, -12:, :] = 900.0
        affine = np.eye(4)
        affine[:3, :3] = np.fliplr(np.diag([1.5, 1.5, 2.2]))
        heads.append(template(series(pixels, affine, uid=f"2.25.7{number}")))
    assert VERIFIER.score(*heads) < 0.5


def test_ct_is_not_compared_with_mr(reference: Template) -> None:
    found = VERIFIER.compare(replace(reference, modality="MR"), reference)
    assert found.score == 0.0
    assert found.overlay.shape[1] == 3 * SIZE


def test_a_volume_of_nothing_has_no_template() -> None:
    empty = np.full((30, 50, 50), -1000.0, np.float32)
    assert VERIFIER.template(series(empty, np.diag([2.0, 2.0, 2.0, 1.0]))) is None


def test_what_is_no_volume_is_refused(reference: Template) -> None:
    picture = replace(phantom_head(1), kind="radiograph", affine=None)
    assert not VERIFIER.accepts(picture)
    with pytest.raises(ImagingError):
        VERIFIER.template(picture)


@pytest.mark.parametrize("change", [{"version": "0"}, {"verifier": "fundus"}])
def test_templates_of_others_are_refused_by_name(reference: Template, change: dict[str, str]) -> None:
    for pair in ((replace(reference, **change), reference), (reference, replace(reference, **change))):
        with pytest.raises(EncoderError) as caught:
            VERIFIER.score(*pair)
        assert caught.value.reason == "TEMPLATE_VERSION"


def test_damaged_templates_are_refused_by_name(reference: Template) -> None:
    broken = replace(reference, data=reference.data[:-5] + b"\x00" * 5)
    for compare in (VERIFIER.score, VERIFIER.compare):
        with pytest.raises(EncoderError) as caught:
            compare(reference, broken)
        assert caught.value.reason == "TEMPLATE_DAMAGED"


def test_a_template_is_the_same_every_time(reference: Template) -> None:
    assert template(phantom_head(1)).data == reference.data


def test_how_the_scan_was_stored_does_not_matter(reference: Template) -> None:
    from tests.imaging.heads import stored_differently

    volume = stored_differently(phantom_head(1), (1, 2, 0), (False, True, True))
    volume = replace(volume, spacing=tuple(np.array(phantom_head(1).spacing)[[1, 2, 0]]))
    found = VERIFIER.compare(template(volume), reference)
    assert found.score > 0.9
    assert np.degrees(Rotation.from_matrix(found.transform[:3, :3]).magnitude()) < 0.1
