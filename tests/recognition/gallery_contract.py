"""What every gallery has to do. A twin subclasses :class:`GalleryContract` and says how to make an empty one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import GalleryError
from inference.gallery.protocol import Candidate, Gallery, GalleryEntry, GalleryFilter
from inference.types import FloatArray, PatientKey

DIMENSION = 4
ENCODER, VERSION = "probe", "1.0"


def patient(number: int) -> PatientKey:
    return PatientKey("HOSPITAL", f"P{number:03d}")


def unit(vector: object) -> FloatArray:
    values = np.asarray(vector, np.float32)
    return np.asarray(values / np.linalg.norm(values), np.float32)


def entry(number: int, who: int, vector: object = (1, 0, 0, 0), **known: str) -> GalleryEntry:
    return GalleryEntry(number, patient(who), known.pop("study_uid", f"1.2.{number}"), unit(vector), **known)


@dataclass
class Oracle:
    """The same, by brute force over a list."""

    entries: dict[int, GalleryEntry] = field(default_factory=dict)

    def enrol(self, entries: list[GalleryEntry]) -> None:
        for item in entries:
            self.entries[item.embedding_id] = item

    def forget(self, who: PatientKey) -> int:
        gone = [number for number, item in self.entries.items() if item.patient == who]
        for number in gone:
            del self.entries[number]
        return len(gone)

    def reassign(self, study_uid: str, who: PatientKey) -> int:
        moved = [number for number, item in self.entries.items() if item.study_uid == study_uid]
        for number in moved:
            self.entries[number] = replace(self.entries[number], patient=who)
        return len(moved)

    def best(self, probe: FloatArray, where: GalleryFilter) -> dict[PatientKey, float]:
        best: dict[PatientKey, float] = {}
        for item in self.entries.values():
            if self.stays(item, where):
                score = float(np.dot(item.vector.astype(np.float64), probe.astype(np.float64)))
                best[item.patient] = max(score, best.get(item.patient, -2.0))
        return best

    @staticmethod
    def stays(item: GalleryEntry, where: GalleryFilter) -> bool:
        for name in ("modality", "view", "laterality", "sex"):
            asked, known = getattr(where, name), getattr(item, name)
            if asked and known and asked != known:
                return False
        if where.patients is not None and item.patient not in where.patients:
            return False
        if where.birth_year_between and item.birth_date:
            low, high = where.birth_year_between
            if not low <= int(item.birth_date[:4]) <= high:
                return False
        return item.study_uid not in where.exclude_studies


# Few different coordinates: ties and several entries per patient and study are the rule, not the exception.
VECTORS = st.tuples(*[st.integers(-2, 2)] * DIMENSION).filter(any).map(unit)
ENTRIES = st.builds(
    GalleryEntry,
    embedding_id=st.integers(0, 30),
    patient=st.integers(0, 6).map(patient),
    study_uid=st.integers(0, 9).map("1.2.{}".format),
    vector=VECTORS,
    modality=st.sampled_from(["", "DX", "CT"]),
    view=st.sampled_from(["", "FRONTAL", "LATERAL"]),
    laterality=st.sampled_from(["", "L", "R"]),
    sex=st.sampled_from(["", "F", "M"]),
    birth_date=st.sampled_from(["", "19500101", "19800229"]),
)
FILTERS = st.builds(
    GalleryFilter,
    exclude_studies=st.frozensets(st.integers(0, 9).map("1.2.{}".format), max_size=3),
    modality=st.sampled_from(["", "DX"]),
    view=st.sampled_from(["", "FRONTAL"]),
    laterality=st.sampled_from(["", "L"]),
    sex=st.sampled_from(["", "F"]),
    birth_year_between=st.sampled_from([None, (1940, 1960), (1950, 1950)]),
    patients=st.none() | st.frozensets(st.integers(0, 6).map(patient), max_size=4),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enrol"), st.lists(ENTRIES, max_size=12)),
        st.tuples(st.just("forget"), st.integers(0, 6).map(patient)),
        st.tuples(
            st.just("reassign"), st.tuples(st.integers(0, 9).map("1.2.{}".format), st.integers(0, 6).map(patient))
        ),
    ),
    max_size=6,
)


class GalleryContract:
    """Subclass it as ``TestMyGallery`` and define :meth:`make`."""

    def make(self) -> Gallery:
        raise NotImplementedError

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=STEPS, probe=VECTORS, k=st.integers(1, 8), where=FILTERS)
    def test_agrees_with_brute_force(self, steps: list, probe: FloatArray, k: int, where: GalleryFilter) -> None:
        gallery, oracle = self.make(), Oracle()
        for name, value in steps:
            if name == "enrol":
                gallery.enrol(value)
                oracle.enrol(value)
            elif name == "forget":
                assert gallery.forget(value) == oracle.forget(value)
            else:
                assert gallery.reassign(*value) == oracle.reassign(*value)
        assert len(gallery) == len(oracle.entries)
        (found,) = gallery.search(probe[None], k, where)
        expected = oracle.best(probe, where)
        assert found.searched == len(expected)
        assert len({c.patient for c in found.candidates}) == len(found.candidates) == min(k, len(expected))
        scores = [c.score for c in found.candidates]
        assert scores == sorted(scores, reverse=True)
        np.testing.assert_allclose(scores, sorted(expected.values(), reverse=True)[: len(scores)], atol=1e-6)
        for candidate in found.candidates:
            self.check_reference(candidate, oracle, probe, expected)

    @staticmethod
    def check_reference(found: Candidate, oracle: Oracle, probe: FloatArray, best: dict[PatientKey, float]) -> None:
        item = oracle.entries[found.embedding_id]
        assert (item.patient, item.study_uid) == (found.patient, found.study_uid)
        np.testing.assert_allclose(best[found.patient], found.score, atol=1e-6)
        np.testing.assert_allclose(float(item.vector @ probe), found.score, atol=1e-6)

    def test_one_patient_with_very_many_entries_hides_nobody(self) -> None:
        gallery = self.make()
        gallery.enrol([entry(n, 0, (1, 0, 0, 0.001 * n)) for n in range(500)])
        gallery.enrol([entry(1000 + n, 1 + n, (0.1, 1, n, 0)) for n in range(5)])
        (found,) = gallery.search(unit((1, 0, 0, 0))[None], 6)
        assert found.candidates[0].patient == patient(0)
        assert {c.patient for c in found.candidates} == {patient(n) for n in range(6)}
        assert found.searched == 6

    def test_an_entry_with_a_known_id_replaces_the_former(self) -> None:
        gallery = self.make()
        gallery.enrol([entry(7, 1, (1, 0, 0, 0))])
        gallery.enrol([entry(7, 2, (0, 1, 0, 0))])
        (found,) = gallery.search(unit((0, 1, 0, 0))[None], 5)
        assert [(c.patient, round(c.score, 5)) for c in found.candidates] == [(patient(2), 1.0)]

    def test_a_study_is_never_searched_against_itself(self) -> None:
        gallery = self.make()
        gallery.enrol([entry(1, 1, study_uid="1.2.3"), entry(2, 2, (0, 1, 0, 0))])
        (found,) = gallery.search(unit((1, 0, 0, 0))[None], 5, GalleryFilter(exclude_studies=frozenset({"1.2.3"})))
        assert [c.patient for c in found.candidates] == [patient(2)]

    def test_a_forgotten_patient_is_gone(self) -> None:
        gallery = self.make()
        gallery.enrol([entry(1, 1), entry(2, 1), entry(3, 2)])
        assert gallery.forget(patient(1)) == 2
        assert gallery.forget(patient(1)) == 0
        (found,) = gallery.search(unit((1, 0, 0, 0))[None], 5)
        assert [c.patient for c in found.candidates] == [patient(2)]

    def test_an_empty_gallery_answers_with_empty_lists(self) -> None:
        found = self.make().search(np.stack([unit((1, 0, 0, 0))] * 3), 5)
        assert [(item.candidates, item.searched) for item in found] == [((), 0)] * 3

    @pytest.mark.parametrize(
        "vector",
        [np.ones(DIMENSION + 1) / 5**0.5, np.ones(DIMENSION), np.full(DIMENSION, np.nan), np.zeros(DIMENSION)],
        ids=["other dimension", "not of unit length", "NaN", "zero"],
    )
    def test_unusable_vectors_are_refused_as_probe_and_as_entry(self, vector: FloatArray) -> None:
        gallery = self.make()
        good, bad = entry(1, 1), GalleryEntry(2, patient(2), "1.2.2", vector.astype(np.float32))
        with pytest.raises(GalleryError):
            gallery.enrol([good, bad])
        assert len(gallery) == 0, "a refused batch must leave nothing behind"
        gallery.enrol([good])
        with pytest.raises(GalleryError):
            gallery.search(vector[None].astype(np.float32), 1)
