"""Evidence that may show a person a candidate, and never links by itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import PolicySettings, Settings, load_settings
from dicom_node.importing import import_files, walk_all
from dicom_node.ledger import ItemKind, StudyState
from dicom_node.node import Node
from inference.calibration import fit_calibration
from inference.calibration.files import write_calibration
from inference.calibration.open_set import fit_open_set
from inference.encoders.bundle import site_calibration
from inference.encoders.registry import package_bundles
from inference.evidence import GeometricEvidence, with_verification
from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.matching import DEMOGRAPHICS, Outcome, PatientEvidence, Reason, decide
from inference.types import PatientKey, SeriesHeader
from tests.node.films import film_dataset, known, study_uid, write_film
from tests.recognition.test_evidence import AXES, calibrated, decided, gallery, gather, probe, vector

POLICY = load_settings(environment={}).policy
BONES, FACE = "bones:CT-VR/+DX/FRONTAL", "face:CT/"
LRS, P_VALUES = st.floats(-8, 12), st.floats(0, 1)
Looks = dict[str, tuple[float, float]]
LOOKS = st.dictionaries(st.sampled_from([BONES, FACE, "film:DX/FRONTAL", "bones:DX/FRONTAL"]), st.tuples(LRS, P_VALUES))
REVIEW_ONLY = frozenset({BONES, "bones:DX/FRONTAL"})


def patient(number: int, looks: Looks, named: float = 0.0) -> PatientEvidence:
    return PatientEvidence(
        PatientKey("H", f"{number}"),
        {name: lr for name, (lr, _) in looks.items()} | {DEMOGRAPHICS: named},
        quality=1.0,
        p_values={name: p for name, (_, p) in looks.items()},
    )


@given(everyone=st.lists(LOOKS, min_size=1, max_size=5), named=st.floats(-2, 6), others=st.integers(0, 10**5))
def test_a_link_always_stands_without_the_evidence_for_reviewers(
    everyone: list[Looks], named: float, others: int
) -> None:
    found = decide(
        [patient(n, looks, named) for n, looks in enumerate(everyone)],
        len(everyone) + others,
        POLICY,
        True,
        rest_log10_lr=-3.0,
        review_only=REVIEW_ONLY,
    )
    if found.outcome is not Outcome.LINK or not any(REVIEW_ONLY & set(looks) for looks in everyone):
        return
    assert found.best is not None
    sound = {name: look for name, look in everyone[int(found.best.id)].items() if name not in REVIEW_ONLY}
    assert any(lr > 0 for lr, _ in sound.values()), "no other image speaks for this patient"
    assert len(sound) * min(p for _, p in sound.values()) <= POLICY.fpir


@given(everyone=st.lists(LOOKS, min_size=1, max_size=4), others=st.integers(0, 10**5))
def test_whom_only_reviewers_may_see_is_never_linked_and_never_lost(everyone: list[Looks], others: int) -> None:
    """However strong bones are, alone they go to a person; they are never hidden from him either."""
    alone = [{name: look for name, look in looks.items() if name in REVIEW_ONLY} for looks in everyone]
    items = [patient(n, looks) for n, looks in enumerate(alone)]
    free, bound = (
        decide(items, len(items) + others, POLICY, True, rest_log10_lr=-3.0, review_only=names)
        for names in (frozenset[str](), REVIEW_ONLY)
    )
    assert bound.outcome is not Outcome.LINK
    if free.outcome is Outcome.LINK:
        assert (bound.outcome, bound.reasons) == (Outcome.REVIEW, (Reason.REVIEW_ONLY,))
        assert bound.ranked == free.ranked, "the candidates and their likelihood ratios stay"


@given(everyone=st.lists(LOOKS, min_size=1, max_size=4), others=st.integers(0, 10**5))
def test_evidence_for_reviewers_adds_a_reason_and_changes_nothing_else(everyone: list[Looks], others: int) -> None:
    items = [patient(n, looks) for n, looks in enumerate(everyone)]
    free, bound = (
        decide(items, len(items) + others, POLICY, True, review_only=names) for names in (frozenset[str](), REVIEW_ONLY)
    )
    assert replace(bound, reasons=free.reasons, outcome=free.outcome) == free
    assert [reason for reason in bound.reasons if reason is not Reason.REVIEW_ONLY] == list(free.reasons)


def both(face: tuple[float, float] | None, bones: tuple[float, float] | None) -> Outcome:
    looks = {name: look for name, look in ((FACE, face), (BONES, bones)) if look is not None}
    return decide([patient(1, looks)], 50, POLICY, True, rest_log10_lr=-2.0, review_only=REVIEW_ONLY).outcome


def test_other_evidence_lets_it_link_alone_or_together() -> None:
    strong, half = (8.0, 1e-5), (POLICY.link_log10_lr * 0.8, 1e-4)
    assert both(None, strong) is Outcome.REVIEW
    assert both(strong, None) is both(strong, (0.5, 0.2)) is Outcome.LINK
    assert both(half, None) is not Outcome.LINK
    assert both(half, (6.0, 1e-4)) is Outcome.LINK
    assert both((-1.0, 1.0), strong) is Outcome.REVIEW


def test_a_name_and_a_birth_date_are_no_other_evidence() -> None:
    found = decide([patient(1, {BONES: (8.0, 1e-6)}, named=4.0)], 50, POLICY, True, review_only=REVIEW_ONLY)
    assert (found.outcome, found.reasons) == (Outcome.REVIEW, (Reason.REVIEW_ONLY,))


def test_bones_do_not_choose_between_two_whom_the_face_cannot_tell_apart() -> None:
    twins = [patient(1, {FACE: (6.0, 1e-5), BONES: (4.0, 1e-4)}), patient(2, {FACE: (6.1, 1e-5), BONES: (-4.0, 1.0)})]
    assert decide(twins, 50, POLICY, True).outcome is Outcome.LINK
    found = decide(twins, 50, POLICY, True, review_only=REVIEW_ONLY)
    assert (found.outcome, found.reasons) == (Outcome.REVIEW, (Reason.REVIEW_ONLY,))


def test_a_geometric_proof_is_other_evidence() -> None:
    found = gather([probe(vector((3, 0.95)))], {"a": gallery(AXES)}, {"a": calibrated()}, review_only=["a"])
    assert found.review_only == {"a:CT/"}
    assert decide(found.patients, found.searched, POLICY, True, review_only=found.review_only).outcome is Outcome.REVIEW
    best = max(found.patients, key=lambda item: item.score)
    proved = with_verification(found, {best.patient: {"volume": GeometricEvidence(3.0, 1e-4)}})
    decision = decide(proved.patients, proved.searched, POLICY, True, review_only=proved.review_only)
    assert (decision.outcome, decision.best) == (Outcome.LINK, best.patient)


def test_one_whose_calibration_is_not_trusted_cannot_stop_a_link_of_others() -> None:
    galleries = {"a": gallery(AXES), "bones": gallery(AXES, "bones")}
    probes = [probe(vector((3, 0.95))), probe(vector((5, 0.95)), "bones")]
    calibrations = {"a": calibrated(), "bones": calibrated("bones", scope="phantom")}
    found = gather(probes, galleries, calibrations, review_only=["bones"])
    assert (found.trusted, found.notes) == (True, ("CALIBRATION_NOT_TRUSTED:bones",))
    assert all("bones:CT/" not in item.log10_lrs for item in found.patients)
    assert (decided(found).outcome, decided(found).best) == (Outcome.LINK, PatientKey("H", "003"))
    assert gather(probes, galleries, calibrations).trusted is False, "an encoder that may link has to be trusted"
    alone = gather(probes[1:], galleries, calibrations, review_only=["bones"])
    assert alone.trusted is False
    assert max(item.log10_lrs["bones:CT/"] for item in alone.patients) > 3, "a reviewer sees what it is worth"


ENROLLED, BOLD = 10, {
    "name": "bold-1", "link_log10_lr": 0.8, "link_margin_log10": 0.8, "link_posterior": 0.51, "fpir": 0.2,
    "link_quality": 0.0,
}  # fmt: skip
RULE = """
version = 1
[[rules]]
name = "films"
why = "A test."
when = [{ attribute = "Modality", all = { equals = "CR" } }]
encoders = %s
"""


@pytest.fixture
def node(settings: Settings, tmp_path: Path) -> Iterator[Node]:
    """A calibrated node with a policy that links patterns, an encoder ``bones`` whose candidates go to review, and no
    verifier. Both encoders see the same."""
    copied_as_bones(settings.bundle_folder)
    policy: PolicySettings = settings.policy.model_copy(update=BOLD)
    verification = settings.verification.model_copy(update={"enabled": False})
    routing = settings.routing.model_copy(update={"file": str(tmp_path / "routing.toml"), "reload_seconds": 0.0})
    bold = settings.model_copy(update={"policy": policy, "verification": verification, "routing": routing})
    (tmp_path / "routing.toml").write_text(RULE % '["general", "bones"]')
    with Node(bold) as made:
        calibrate(made, tmp_path)
        paths = [write_film(tmp_path / "known", person, 0, known(person)) for person in range(ENROLLED)]
        import_files(made, paths)
        assert walk_all(made) == {StudyState.ENROLLED: ENROLLED}
        yield made


def copied_as_bones(bundles: Path) -> None:
    folder = shutil.copytree(package_bundles() / "general", bundles / "bones")
    lines = (folder / "bundle.toml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("name", "calibration", '"calibration'))]
    (folder / "bundle.toml").write_text("\n".join(['name = "bones"', "supports_automatic_link = false", *kept, ""]))


def calibrate(node: Node, folder: Path) -> None:
    """Each encoder by its own scores of 24 other patterns."""
    for name in ("general", "bones"):
        encoder = node.registry.get(name)
        headers = [
            [read_header(write_film(folder / "others", n, v, known(n))) for v in (0, 1)] for n in range(100, 124)
        ]
        vectors = np.array(
            [
                [encoder.encode(load_series(SeriesHeader(h.study_uid, h.series_uid, (h,))).images)[0].vector for h in p]  # type: ignore[union-attr]
                for p in headers
            ]
        )
        scores = vectors[:, 0] @ vectors[:, 1].T
        apart = ~np.eye(len(scores), dtype=bool)
        guard = fit_open_set(scores[apart], np.nonzero(apart)[0], np.nonzero(apart)[0])
        assert guard is not None
        found = fit_calibration(
            scores.diagonal(), scores[apart], open_set={"": guard}, encoder=name, version=encoder.version,
            scope="site", fitted_on="patterns", patients=len(scores),
        )  # fmt: skip
        path = site_calibration(node.settings.calibration_folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_calibration(found, path)


def send(node: Node, folder: Path, person: int, encoders: str) -> str:
    Path(node.settings.routing.file).write_text(RULE % encoders)
    folder.mkdir(exist_ok=True)
    path = folder / f"{person}.dcm"
    film_dataset(person, 5, None).save_as(path, enforce_file_format=True)
    import_files(node, [path])
    walk_all(node)
    return study_uid(person, 5)


def test_a_node_links_by_the_one_reviews_by_the_other_and_links_by_both(node: Node, tmp_path: Path) -> None:
    state = {
        encoders: node.ledger.study(send(node, tmp_path / "orphans", person, encoders))
        for person, encoders in ((3, '["general"]'), (4, '["bones"]'), (5, '["general", "bones"]'))
    }
    assert [one.state for one in state.values() if one] == [StudyState.LINKED, StudyState.REVIEW, StudyState.LINKED]
    (decision,) = node.ledger.decisions(study_uid=study_uid(4, 5))
    assert decision.reasons == ("REVIEW_ONLY_EVIDENCE",)
    assert decision.patient is not None and decision.patient.id == known(4)
    assert decision.candidates[0]["log10_lrs"]["bones:DX/FRONTAL"] > 0
    (item,) = node.ledger.worklist(ItemKind.REVIEW)
    assert (item.study_uid, item.reason) == (study_uid(4, 5), "REVIEW_ONLY_EVIDENCE")
    (counted,) = node.ledger.counters("link_withheld")
    assert (counted.labels, counted.value) == ({"reason": "REVIEW_ONLY_EVIDENCE"}, 1)
