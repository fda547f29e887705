"""Difference alignment to teachers: the one place where training asks a network for its local features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from config.errors import TrainingError
from training.learning.alignment import AlignmentByTeacher
from training.learning.recipe import Alignment
from training.learning.teachers import load_teacher


class Teaching(nn.Module):
    """Aligns differences between images with those that a teacher of their modality sees.

    Parameters
    ----------
    alignment
        ``forward(student, teacher, modality, seed)``, as :class:`training.learning.alignment.AlignmentByTeacher`.
    teachers
        by number of the modality, frozen; each gives ``maps(images (B, 3, S, S)) -> (B, C, h, w)``.
    """

    def __init__(self, alignment: nn.Module, teachers: Mapping[int, Any]) -> None:
        super().__init__()
        self.alignment = alignment
        # Not registered: what is frozen has no place in a checkpoint.
        self._teachers = dict(teachers)

    def queries(self, modalities: Sequence[str]) -> dict[str, Tensor]:
        """The key queries of every modality with a teacher: ``MODALITY.queries`` and the like, float32."""
        alignment = cast(AlignmentByTeacher, self.alignment)
        return {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for number, name in enumerate(modalities)
            for key, value in alignment.queries(number).items()
        }

    def forward(
        self, network: Any, images: Tensor, modality: Tensor, seed: int, gather: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Embeddings (B, D) of images (B, T, 3, S, S) of one modality, and the loss where it has a teacher.

        ``gather`` brings a tensor's rows together from all processes, so that pairs are those of the whole batch, drawn
        by ``seed``.
        """
        teacher = self._teachers.get(int(modality[0]))
        if teacher is None:
            return network(images, modality), None
        if hasattr(network, "embed"):
            local = network.local(images, modality)
            embeddings = network.embed(local)
        else:
            local, embeddings = network.local(images), network(images, modality)
        seen = _seen(teacher, images)
        return embeddings, self.alignment(gather(local), gather(seen), gather(modality), seed)


def teaching_of(wanted: Alignment, network: Any, modalities: Sequence[str]) -> Teaching:
    """The alignment of a recipe: its teachers by name, for those of its modalities that the data have.

    Raises
    ------
    TrainingError
        ``TEACHER_UNKNOWN``, or ``ALIGNMENT`` when no modality has a teacher, or the settings cannot be taken.
    """
    loaded = {name: load_teacher(name) for name in sorted(set(wanted.teachers.values()))}
    places = {name: number for number, name in enumerate(modalities)}
    teachers = {places[modality]: loaded[name] for modality, name in wanted.teachers.items() if modality in places}
    if not teachers:
        raise TrainingError(
            f"alignment.teachers has none for {', '.join(modalities)}; name one, or leave [alignment] out",
            reason="ALIGNMENT",
        )
    channels = getattr(network, "channels", network.dimension)
    try:
        return Teaching(AlignmentByTeacher(channels, teachers, wanted.settings), teachers)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"alignment cannot take its settings: {error}", reason="ALIGNMENT") from None


def _seen(teacher: Any, images: Tensor) -> Tensor:
    """The teacher's maps (B, C, h, w), averaged over slices as the student's are."""
    with torch.no_grad():
        maps = cast(Tensor, teacher.to(images.device).maps(images.flatten(0, 1)))
    return maps.reshape(*images.shape[:2], *maps.shape[1:]).mean(1)
