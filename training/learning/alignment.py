"""Difference alignment: what changes between two images shall change alike in the eyes of a teacher.

From MaMI ("All-in-one medical image re-identification", CVPR 2025, arXiv 2503.08173), from its text: queries of the
modality pool key features of the student's and of the teacher's local map; the differences of these between any two
images of a batch are aligned by InfoNCE (A. van den Oord et al., arXiv 1807.03748). Nothing of it is there at serving.

The text leaves open: the number of queries (8 here), what makes the teacher's features comparable (a linear layer), and
the scale of differences (unit length, without which a temperature of 0.07 saturates).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from config.errors import TrainingError
from inference.networks.mami import KeyQueries

__all__ = ["AlignmentByTeacher", "DifferenceAlignment"]


class DifferenceAlignment(nn.Module):
    """The loss that aligns a student to one teacher.

    Parameters
    ----------
    channels, teacher_channels
        C of the student's local maps and Ct of the teacher's.
    modalities
        how many labels there are; each has queries of its own.
    queries
        key features per image.
    temperature
        of InfoNCE.
    pairs
        at most so many pairs of images are compared, drawn by chance where a batch has more: the comparison grows
        with the square of ``pairs`` times ``queries``.
    """

    def __init__(
        self,
        channels: int,
        teacher_channels: int,
        modalities: int,
        queries: int = 8,
        temperature: float = 0.07,
        pairs: int = 256,
    ) -> None:
        super().__init__()
        if min(channels, teacher_channels, modalities, queries, pairs) < 1 or temperature <= 0:
            raise ValueError("channels, modalities, queries and pairs are 1 or more, and the temperature is above 0")
        self.temperature, self.pairs = temperature, pairs
        self.student = KeyQueries(modalities, queries, channels)
        # No biases: neither attention nor differences would notice them.
        self.teacher_keys = nn.Linear(teacher_channels, channels, bias=False)
        self.teacher_values = nn.Linear(teacher_channels, channels, bias=False)

    def forward(self, student: Tensor, teacher: Tensor, modality: Tensor, seed: int) -> Tensor:
        """The loss of local maps ``student`` (B, C, h, w) and ``teacher`` (B, Ct, ht, wt), float32, a scalar.

        ``modality`` is int64 (B,) and the same for all; ``seed`` draws the pairs of a large batch. No gradient reaches
        the teacher.

        Raises
        ------
        TrainingError
            ``BATCH_TOO_SMALL`` with fewer than two images, ``MIXED_BATCH`` with several modalities.
        """
        if len(student) < 2:
            raise TrainingError(
                f"difference alignment compares images, and the batch has {len(student)}; give it 2 or more",
                reason="BATCH_TOO_SMALL",
            )
        if bool((modality != modality[0]).any()):
            raise TrainingError(
                "difference alignment takes batches of one modality; sample them so", reason="MIXED_BATCH"
            )
        # In full precision: a difference of two close features has few digits left in half of it.
        with torch.autocast(student.device.type, enabled=False):
            key, cue = self._key_features(student.float(), teacher.detach().float(), modality)
            first, second = self._pairs(len(key), key.device, seed)
            return self._contrast(key[first] - key[second], cue[first] - cue[second])

    def _key_features(self, student: Tensor, teacher: Tensor, modality: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C) each."""
        seen = teacher.flatten(2).transpose(-1, -2)
        attention = self.student.attention(student, modality).flatten(2)
        taught = self.student.looking(self.teacher_keys(seen), modality)
        return attention @ student.flatten(2).transpose(-1, -2), taught @ self.teacher_values(seen)

    def _pairs(self, images: int, device: torch.device, seed: int) -> tuple[Tensor, Tensor]:
        first, second = torch.triu_indices(images, images, 1, device=device).unbind(0)
        if len(first) > self.pairs:
            # By its own stream: all processes of a training have to draw the same pairs.
            drawn = torch.randperm(len(first), generator=torch.Generator().manual_seed(seed))[: self.pairs].to(device)
            first, second = first[drawn], second[drawn]
        return first, second

    def _contrast(self, student: Tensor, teacher: Tensor) -> Tensor:
        """InfoNCE of differences (pairs, N, C): each has one partner, and all others of the batch against it."""
        ours, theirs = (functional.normalize(one.flatten(0, 1), dim=-1) for one in (student, teacher))
        likeness = ours @ theirs.transpose(-1, -2) / self.temperature
        return functional.cross_entropy(likeness, torch.arange(len(likeness), device=likeness.device))


class Taught(Protocol):
    """What an alignment has to know of a teacher (:class:`training.learning.teachers.Teacher`)."""

    name: str
    channels: int


class AlignmentByTeacher(nn.Module):
    """A :class:`DifferenceAlignment` for each of several teachers; a batch goes to that of its modality's teacher.

    Parameters
    ----------
    channels
        C of the student's local maps.
    teachers
        by number of the modality; modalities of one teacher (by name) share all but the queries.
    settings
        of :class:`DifferenceAlignment`, the same for all.
    """

    def __init__(self, channels: int, teachers: Mapping[int, Taught], settings: Mapping[str, float | int]) -> None:
        super().__init__()
        if not teachers:
            raise TrainingError("difference alignment needs a teacher of one modality or more", reason="NO_TEACHER")
        modalities = 1 + max(teachers)
        distinct = {teacher.name: teacher.channels for teacher in teachers.values()}
        order = list(distinct)
        self.alignments = nn.ModuleList(
            DifferenceAlignment(channels, distinct[name], modalities, **settings)  # type: ignore[arg-type]
            for name in order
        )
        self._of_modality = {number: order.index(teacher.name) for number, teacher in teachers.items()}

    def queries(self, modality: int) -> dict[str, Tensor]:
        """The state of the :class:`KeyQueries` of one modality alone; empty where it has no teacher."""
        if modality not in self._of_modality:
            return {}
        alignment = cast(DifferenceAlignment, self.alignments[self._of_modality[modality]])
        state = dict(alignment.student.state_dict())
        return state | {"queries": state["queries"][modality : modality + 1]}

    def forward(self, student: Tensor, teacher: Tensor, modality: Tensor, seed: int) -> Tensor:
        """See :meth:`DifferenceAlignment.forward`; TrainingError ``NO_TEACHER`` for a modality without one."""
        number = int(modality[0])
        if number not in self._of_modality:
            raise TrainingError(f"modality number {number} has no teacher to align to", reason="NO_TEACHER")
        loss: Tensor = self.alignments[self._of_modality[number]](student, teacher, modality, seed)
        return loss
