"""Difference alignment: what lowers it, what it may touch, and which batches it cannot take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from config.errors import TrainingError
from training.learning.alignment import AlignmentByTeacher, DifferenceAlignment

ONE_KIND = torch.zeros(6, dtype=torch.int64)


def maps(seed: int, images: int = 6, channels: int = 8, edge: int = 4) -> Tensor:
    return torch.randn(images, channels, edge, edge, generator=torch.Generator().manual_seed(seed))


def agreeing(**settings: Any) -> DifferenceAlignment:
    """An alignment that sees of the teacher what it sees of the student."""
    torch.manual_seed(1)
    alignment = DifferenceAlignment(8, 8, 2, **settings)
    with torch.no_grad():
        alignment.teacher_keys.load_state_dict(alignment.student.keys.state_dict())
        alignment.teacher_values.weight[:] = torch.eye(8)
    return alignment


def test_it_is_the_published_formula() -> None:
    """By loops over all pairs and queries, for maps of different channels and sizes."""
    torch.manual_seed(1)
    alignment = DifferenceAlignment(8, 5, 2, queries=3)
    student, teacher = maps(1, 4), maps(2, 4, 5, 3)
    own = alignment.student.queries[0]
    ours, theirs = [], []
    for f, g in zip(student.flatten(2).mT, teacher.flatten(2).mT, strict=True):
        ours.append((own @ alignment.student.keys(f).T / 8**0.5).softmax(1) @ f)
        theirs.append((own @ alignment.teacher_keys(g).T / 8**0.5).softmax(1) @ alignment.teacher_values(g))
    u, v = [], []
    for i in range(4):
        for j in range(i + 1, 4):
            for n in range(3):
                u.append(functional.normalize(ours[i][n] - ours[j][n], dim=0))
                v.append(functional.normalize(theirs[i][n] - theirs[j][n], dim=0))
    terms = [-torch.log_softmax(torch.stack([a @ b for b in v]) / 0.07, 0)[n] for n, a in enumerate(u)]
    torch.testing.assert_close(alignment(student, teacher, ONE_KIND[:4], 0), torch.stack(terms).mean())


@torch.no_grad()
def test_features_that_differ_alike_cost_less_than_permuted_ones() -> None:
    alignment, student = agreeing(), maps(1)
    aligned = alignment(student, student, ONE_KIND, 0)
    permuted = alignment(student, student[torch.tensor([1, 2, 3, 4, 5, 0])], ONE_KIND, 0)
    assert float(aligned) < 0.5 * float(permuted)


@torch.no_grad()
def test_what_all_images_have_in_common_does_not_matter() -> None:
    """Differences are aligned, not features: this is what keeps a teacher's view of the machine out."""
    alignment, student = agreeing(), maps(1)
    before = alignment(student, student, ONE_KIND, 0)
    machine = 10 * torch.randn(8)[:, None, None]
    torch.testing.assert_close(alignment(student, student + machine, ONE_KIND, 0), before, rtol=1e-3, atol=1e-3)


def test_gradients_reach_the_student_and_the_queries_and_never_the_teacher() -> None:
    torch.manual_seed(1)
    alignment = DifferenceAlignment(8, 5, 2)
    student, teacher = maps(1).requires_grad_(), maps(2, channels=5).requires_grad_()
    alignment(student, teacher, ONE_KIND + 1, 0).backward()
    assert student.grad is not None
    assert (student.grad.abs().amax((1, 2, 3)) > 0).all()
    assert teacher.grad is None
    queries = alignment.student.queries.grad
    assert queries is not None
    # Only those of the batch's own modality.
    assert (queries[1].abs().amax(1) > 0).all()
    assert not queries[0].any()


def test_a_student_learns_to_differ_as_its_teacher_does() -> None:
    alignment = agreeing().requires_grad_(False)
    teacher, student = maps(1), maps(2).requires_grad_()
    optimiser = torch.optim.Adam([student], 0.1)
    first = last = alignment(student, teacher, ONE_KIND, 0)
    for _ in range(40):
        optimiser.zero_grad()
        last = alignment(student, teacher, ONE_KIND, 0)
        last.backward()
        optimiser.step()
    assert float(last.detach()) < 0.3 * float(first.detach())


@torch.no_grad()
def test_no_more_pairs_than_asked_for_are_compared() -> None:
    """The value for nothing in common is the log of how many differences are compared."""
    alignment = agreeing(pairs=5, queries=2)
    alignment.temperature = 1e6
    found = alignment(maps(1), maps(2), ONE_KIND, 0)
    torch.testing.assert_close(found.exp(), torch.tensor(10.0), rtol=1e-3, atol=0)
    everything = agreeing(queries=2)
    everything.temperature = 1e6
    torch.testing.assert_close(everything(maps(1), maps(2), ONE_KIND, 0).exp(), torch.tensor(30.0), rtol=1e-3, atol=0)


def test_images_that_are_the_same_do_not_break_it() -> None:
    student = maps(1)[:1].expand(3, -1, -1, -1).clone().requires_grad_()
    loss = agreeing()(student, student.detach(), ONE_KIND[:3], 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("images", [0, 1])
def test_fewer_than_two_images_are_refused(images: int) -> None:
    with pytest.raises(TrainingError, match=f"has {images}; give it 2 or more") as caught:
        agreeing()(maps(1)[:images], maps(1)[:images], ONE_KIND[:images], 0)
    assert caught.value.reason == "BATCH_TOO_SMALL"


def test_several_modalities_in_a_batch_are_refused() -> None:
    with pytest.raises(TrainingError, match="one modality") as caught:
        agreeing()(maps(1), maps(1), torch.tensor([0, 0, 1, 0, 0, 0]), 0)
    assert caught.value.reason == "MIXED_BATCH"


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature"):
        agreeing(temperature=0)
    with pytest.raises(ValueError, match="queries"):
        agreeing(queries=0)


def test_each_teacher_has_an_alignment_of_its_own() -> None:
    torch.manual_seed(1)
    wide, narrow = SimpleNamespace(name="wide", channels=5), SimpleNamespace(name="narrow", channels=3)
    both = AlignmentByTeacher(8, {0: wide, 1: narrow, 3: wide}, {"queries": 2})
    assert [one.teacher_keys.in_features for one in both.alignments] == [5, 3]
    for number, channels in ((0, 5), (1, 3), (3, 5)):
        assert torch.isfinite(both(maps(1), maps(2, channels=channels), ONE_KIND + number, 0))
    with pytest.raises(TrainingError, match="number 2 has no teacher"):
        both(maps(1), maps(2, channels=5), ONE_KIND + 2, 0)
    with pytest.raises(TrainingError, match="needs a teacher"):
        AlignmentByTeacher(8, {}, {})
