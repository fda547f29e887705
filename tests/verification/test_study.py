"""The study of what geometry adds: who is searched among whom, and what each method is credited with."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from config.errors import CommandError
from inference.calibration import from_json, to_json
from inference.types import LoadedSeries
from inference.verification.protocol import Template, Verification
from inference.verification.registry import verifier as registered
from training.manifests.files import read_manifest, write_manifest
from training.manifests.schema import Role, Row
from training.recipes.verifiers import calibration_of, joined, searched
from training.studies.comparisons import compare_all
from training.studies.pair_scores import pair_scores
from training.studies.samples import Sample, manifest_images
from training.studies.verification import figures, measure


class Ruler:
    """Compares lengths: the score falls with their difference."""

    name, version = "ruler", "1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def accepts(self, image: LoadedSeries) -> bool:
        return True

    def template(self, image: LoadedSeries) -> Template | None:
        return None

    def score(self, probe: Template, reference: Template) -> float:
        self.asked.append((probe.study_uid, reference.study_uid))
        (first,), (second,) = struct.unpack("<d", probe.data), struct.unpack("<d", reference.data)
        return float(np.exp(-abs(first - second)))

    def compare(self, probe: Template, reference: Template) -> Verification:
        return Verification(self.score(probe, reference), np.eye(3), np.zeros((1, 1, 3), np.uint8))


def sample(
    patient: int, visit: int, length: float | None, angle: float | None, view: str = "", distractor: bool = False
) -> Sample:
    study = f"{patient}.{visit}"
    template = None if length is None else Template("ruler", "1", study, study, struct.pack("<d", length), "DX", view)
    vector = None if angle is None else np.array([np.cos(angle), np.sin(angle)], np.float32)
    return Sample(str(patient), study, view, "", distractor, vector, template)


def people(count: int, seed: int = 0) -> list[Sample]:
    """Each has a length of their own that two visits measure well, and an angle that they measure badly."""
    rng = np.random.default_rng(seed)
    return [
        sample(who, visit, 3.0 * who + rng.normal(0, 0.1), 2.0 * who / count + rng.normal(0, 0.05))
        for who in range(count)
        for visit in range(2)
    ]


def test_geometry_finds_whom_the_embedding_confuses() -> None:
    study = measure(people(40), Ruler(), top=20)
    assert study.probes == 80
    assert study.patients == 40
    by = study.methods
    assert by["verifier"].rank1 == 1.0
    assert by["verifier"].fnir == 0.0
    assert by["embedding"].rank1 < 0.5
    assert by["nominated"].rank1 > 0.9
    assert by["both"].rank1 > 0.9
    assert by["both"].fnir < by["embedding"].fnir
    assert study.template_bytes == 8


def test_studies_views_and_distractors() -> None:
    found = [
        sample(1, 0, 1.0, 0.0, "PA"),
        sample(1, 0, 1.0, 0.0, "LL"),
        sample(1, 1, 1.0, 0.0, "PA"),
        sample(2, 0, 1.0, 0.0, "PA"),
        sample(3, 0, 1.0, 0.0, distractor=True),
        sample(3, 1, 1.0, 0.0, distractor=True),
    ]
    ruler = Ruler()
    compared = compare_all(found, ruler, top=3)
    # The lateral film has no mate of its view, patient 2 has one visit, 3 is only enrolled.
    assert compared.probes.tolist() == [0, 2]
    assert not {("1.0", "1.0"), ("3.0", "3.0")} & set(ruler.asked)
    assert compared.geometry[0, 1] == compared.geometry[1, 2] == -np.inf
    assert compared.geometry[0, 4] == compared.geometry[0, 5] == 1.0
    assert compared.geometry[0, 2] == compared.geometry[2, 0] == 1.0
    # Each pair once, and none of two that nobody searches for.
    assert len(ruler.asked) == compared.asked == 7


def test_a_mate_that_was_not_nominated_or_enrolled_is_a_miss() -> None:
    rng = np.random.default_rng(1)
    found = people(20)
    found[3] = sample(1, 1, 3.0, None)  # refused by the encoder
    found[7] = sample(3, 1, None, float(rng.uniform()))  # refused by the verifier
    study = measure(found, Ruler(), top=39)
    assert (study.refused_by_encoder, study.refused_by_verifier) == (1, 1)
    assert study.methods["nominated"].rank1 == pytest.approx(1 - 4 / 40)
    assert study.methods["verifier"].rank1 == pytest.approx(1 - 2 / 40)


def test_figures_by_hand() -> None:
    # Four searches among three patients; at FPIR 0 the threshold is the best stranger anywhere, 0.8.
    scores = np.array([[0.9, 0.1, 0.2], [0.3, 0.7, 0.1], [0.8, 0.2, 0.85], [-np.inf, 0.1, 0.0]])
    found = figures(scores, np.array([0, 1, 2, 0]), fpir=0.0)
    assert found.rank1 == 0.75
    assert found.fnir == 0.5
    # One of four non-mated searches may return somebody: the threshold falls to 0.3.
    assert figures(scores, np.array([0, 1, 2, 0]), fpir=0.25).fnir == 0.25


def test_without_an_encoder_everybody_is_nominated() -> None:
    found = [sample(who, visit, 3.0 * who, None) for who in range(5) for visit in range(2)]
    study = measure(found, Ruler(), top=1)
    assert study.methods.keys() == {"verifier"}
    assert study.methods["verifier"].rank1 == 1.0


@pytest.mark.parametrize("found", [[], [sample(1, 0, 1.0, 0.0)], [sample(1, 0, 1.0, 0.0), sample(1, 1, 1.0, 0.0)]])
def test_nobody_to_search_for_is_said(found: list[Sample]) -> None:
    with pytest.raises(CommandError):
        measure(found, Ruler())


def test_a_calibration_is_fitted_on_the_nominated_and_guarded_by_all() -> None:
    ruler, lists, everybody = Ruler(), [], []
    for seed in range(2):
        found = people(40, seed)
        compared = compare_all(found, ruler, top=10)
        lists.append(searched(found, compared, np.where(compared.nominated, compared.geometry, -np.inf)))
        everybody.append(searched(found, compared, compared.geometry))
    fitted = calibration_of(ruler, joined(lists), joined(everybody), 40, "rulers")
    again = from_json(to_json(fitted))
    assert (again.encoder, again.version, again.scope) == ("ruler", "1", "phantom")
    assert float(again.overall.log10_lr(0.95)) > 1.0 > 0.0 > float(again.overall.log10_lr(0.01))
    assert again.overall.n_nonmated == int((~joined(lists).mated).sum()) < int((~joined(everybody).mated).sum())
    guard = next(iter(again.open_set.values()))
    assert guard.persons == 40
    assert guard.searches == 160


def test_the_pixel_floor_stands_beside_every_method() -> None:
    rng = np.random.default_rng(2)
    pictures = {who: rng.normal(size=16).astype(np.float32) for who in range(10)}
    found = [replace(one, pixels=pictures[int(one.patient)]) for one in people(10)]
    study = measure(found, Ruler())
    assert study.methods["pixels"].rank1 == 1.0
    assert "pixels" not in measure(people(10), Ruler()).methods


def test_persons_of_a_manifest_are_searched_and_others_only_enrolled(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = []
    for name in ("a0", "a1", "b0", "b1", "c0", "d0", "e0", "e1"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 255, (32, 32), np.uint8))
        role = Role.DISTRACTOR if name[0] == "e" else Role.BOTH
        rows.append(Row(path=f"{name}.png", patient_id=name[0], study=name, modality="DX", role=role))
    write_manifest(tmp_path / "manifest.csv", rows)
    manifest = read_manifest(tmp_path / "manifest.csv")
    found = list(manifest_images(manifest, 10, 10, 0))
    assert sorted(one.patient for one in found) == ["a", "a", "b", "b", "c", "d", "e", "e"]
    assert {one.patient for one in found if not one.distractor} == {"a", "b"}
    few = list(manifest_images(manifest, 1, 1, 0))
    assert len({one.patient for one in few}) == 2
    assert len({one.patient for one in few if not one.distractor}) <= 1


def test_several_processes_give_the_same_scores() -> None:
    verifier = registered("radiograph")
    rng = np.random.default_rng(5)
    smooth = [cv2.GaussianBlur(rng.random((128, 128)).astype(np.float32), (0, 0), 4) for _ in range(4)]
    images = [
        LoadedSeries(str(n), str(n), (str(n),), "DX", "radiograph", (one - one.min()) / np.ptp(one), (1, 1))
        for n, one in enumerate(smooth)
    ]
    templates = [template for image in images if (template := verifier.template(image)) is not None]
    pairs = [(0, 1), (2, 3), (1, 2)]
    alone = list(pair_scores(verifier, templates, pairs))
    assert list(pair_scores(verifier, templates, pairs, processes=2)) == alone
    assert len(set(alone)) == 3
