"""Contact sheets: pictures decide whether a phantom is good, so here they are, as a reader would see them.

Every study is written as DICOM and read back by the loaders that the node uses; what they refuse is shown as it is
stored, and says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from config.errors import CommandError
from inference.imaging.grid import bounds_of, resample
from inference.types import LoadedSeries
from training.cohort.cohort import StudyPlan, make_study, writing
from training.cohort.kinds import KINDS, kinds_of
from training.cohort.visit import Dials
from training.manifests.images import load_path
from training.manifests.schema import Row

Progress = Callable[[int, int, str], None]
Picture = NDArray[np.uint8]

_HEIGHT = 240  # pixels of a panel
_LINE = 17  # pixels of a line of text
_GAP = 8
_SPACING = 2.0  # mm of the grid on which volumes are cut
_PAPER, _INK, _WEAK = 24, (235, 235, 235), (160, 170, 190)
# Cuts of a CT by the word in the name of its kind: plane, share of the way from the patient's feet, front or right,
# centre and width of the window in Hounsfield units.
_BONE = (300.0, 1800.0)
_CT_CUTS: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    "head": (("AX", 0.68, 40.0, 110.0), ("AX", 0.5, *_BONE), ("COR", 0.55, *_BONE), ("SAG", 0.5, *_BONE)),
    "chest": (
        ("AX", 0.5, 40.0, 400.0),
        ("AX", 0.55, -550.0, 1600.0),
        ("COR", 0.5, -150.0, 1700.0),
        ("SAG", 0.5, 100.0, 900.0),
    ),
}
_CT_OTHER = (("AX", 0.5, 40.0, 400.0), ("COR", 0.5, 40.0, 400.0), ("SAG", 0.5, 40.0, 400.0))
_MR_CUTS = (("AX", 0.62), ("COR", 0.5), ("SAG", 0.5))
_TEXT = 0.42


def draw_gallery(
    out: Path,
    seed: int,
    persons: int = 6,
    visits: int = 3,
    kinds: Sequence[str] | None = None,
    dials: Dials | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Draws a contact sheet ``<kind>.png`` for each kind of study: persons in rows, visits in columns.

    Volumes are shown by the middle axial, coronal and sagittal cut, photographs and films as they are. ``progress`` is
    told (studies done, of how many, kind).

    Raises
    ------
    CommandError
        when there is nothing to draw: no person, no visit, or no kind of that name.
    DiskFullError, StorageError
        when ``out`` cannot be written.
    """
    chosen = kinds_of(tuple(KINDS) if kinds is None else kinds)
    if persons < 1 or visits < 1 or seed < 0:
        raise CommandError("a gallery needs 1 person or more, 1 visit or more, and a seed of 0 or more")
    dials = dials or Dials()
    total, done = len(chosen) * persons * visits, 0
    sheets = []
    with writing():
        out.mkdir(parents=True, exist_ok=True)
        for kind in chosen:
            rows: list[list[Picture]] = []
            for number in range(1, persons + 1):
                cells = []
                for visit in range(visits):
                    cells.append(_cell(out, StudyPlan(seed, number, visit, kind.name, dials)))
                    done += 1
                    if progress is not None:
                        progress(done, total, kind.name)
                rows.append(cells)
            title = f"{kind.name}   seed {seed}   persons in rows, visits in columns"
            sheets.append(_save(out / f"{kind.name}.png", _sheet(rows, title)))
    return sheets


def _cell(out: Path, plan: StudyPlan) -> Picture:
    """One study: its images side by side under a caption."""
    with tempfile.TemporaryDirectory(prefix=".gallery-", dir=out) as name:
        folder = Path(name)
        rows = make_study(folder, plan)
        panels = [panel for row in rows for panel in _panels(folder / row.path, row, plan.kind)]
    strip = _beside(panels)
    caption = _captions(rows[0], plan, strip.shape[1])
    return np.concatenate([caption, strip])


def _captions(row: Row, plan: StudyPlan, width: int) -> Picture:
    ill = [name if grade == "1" else f"{name} {grade}" for name, grade in row.labels.items() if grade not in ("", "0")]
    lines = (
        (f"{plan.number:04d}  {row.sex} {row.age:.0f}  visit {plan.visit}  day {row.days}", _INK),
        (f"{row.device}  {', '.join(ill)}", _WEAK),
    )
    paper = np.full((len(lines) * _LINE + 4, width, 3), _PAPER, np.uint8)
    for n, (line, colour) in enumerate(lines):
        _write(paper, line, (2, (n + 1) * _LINE - 3), colour)
    return paper


def _panels(path: Path, row: Row, kind: str) -> list[Picture]:
    """What the loader makes of an image or volume, at the height of a panel."""
    result = load_path(path, row)
    note = " ".join(part for part in (row.laterality, row.view) if part)
    if not result.images:
        reason = result.rejections[0].reason if result.rejections else ""
        return [_titled(picture, f"{note} {reason}".strip()) for picture in _stored(path)]
    image = result.images[0]
    if image.kind == "volume":
        return _cuts(image, kind)
    return [_titled(_fit(_shown(image)), note)]


def _shown(image: LoadedSeries) -> Picture:
    """A picture as 8-bit RGB; radiographs are floats from 0 to 1."""
    pixels = image.pixels
    if pixels.ndim == 3:
        return np.asarray(pixels, dtype=np.uint8)
    return _grey(pixels, 0.0, 1.0)


def _stored(path: Path) -> list[Picture]:
    """The stored picture of a file that no loader takes."""
    import pydicom

    files = [path] if path.is_file() else sorted(path.iterdir())[:1]
    pictures = []
    for file in files:
        stored = pydicom.dcmread(file).pixel_array
        if stored.ndim == 2:
            stored = _grey(stored, float(stored.min()), float(stored.max()))
        pictures.append(_fit(np.asarray(stored, dtype=np.uint8)))
    return pictures


def _cuts(volume: LoadedSeries, kind: str) -> list[Picture]:
    """Axial, coronal and sagittal cuts in the windows of their kind, as radiologists hang them."""
    low, high = bounds_of(volume)
    fill = float(np.min(volume.pixels[:: max(1, len(volume.pixels) // 8)]))
    values = resample(volume, _SPACING, low, high, fill).values
    if volume.modality == "MR":
        bottom, top = (float(v) for v in np.percentile(values, (1.0, 99.7)))
        cuts = tuple((*cut, (bottom + top) / 2, top - bottom) for cut in _MR_CUTS)
    else:
        cuts = next((cuts for word, cuts in _CT_CUTS.items() if word in kind), _CT_OTHER)
    return [
        _titled(_fit(_grey(_cut(values, name, share), centre - width / 2, centre + width / 2)), name)
        for name, share, centre, width in cuts
    ]


def _cut(values: NDArray[np.float32], name: str, share: float) -> NDArray[np.float32]:
    """One plane of (z, y, x) values: the head up, and the patient's left on the right where there is one."""
    axis = ("AX", "COR", "SAG").index(name)
    plane = np.take(values, min(int(share * values.shape[axis]), values.shape[axis] - 1), axis=axis)
    return np.asarray(plane if axis == 0 else plane[::-1], dtype=np.float32)


def _grey(values: NDArray[Any], low: float, high: float) -> Picture:
    share = np.clip((np.asarray(values, dtype=np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat(np.rint(share * 255).astype(np.uint8)[..., None], 3, axis=2)


def _fit(picture: Picture) -> Picture:
    width = max(1, round(picture.shape[1] * _HEIGHT / picture.shape[0]))
    shrink = picture.shape[0] > _HEIGHT
    how = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), (width, _HEIGHT), interpolation=how), dtype=np.uint8)


def _titled(picture: Picture, words: str) -> Picture:
    titled = np.ascontiguousarray(picture)
    if words:
        (width, _), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, _TEXT, 1)
        titled[:_LINE, : width + 6] = titled[:_LINE, : width + 6] // 4
        _write(titled, words, (3, _LINE - 4), _INK)
    return titled


def _write(picture: Picture, words: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, _TEXT, colour, 1, cv2.LINE_AA)


def _beside(panels: Sequence[Picture]) -> Picture:
    parts: list[Picture] = []
    for panel in panels:
        parts += [panel, np.full((panel.shape[0], 2, 3), _PAPER, np.uint8)]
    return np.concatenate(parts, axis=1)


def _sheet(rows: Sequence[Sequence[Picture]], title: str) -> Picture:
    """Cells in a table whose columns are as wide as their widest cell."""
    columns = range(max(len(cells) for cells in rows))
    widths = [max(cells[n].shape[1] for cells in rows if n < len(cells)) for n in columns]
    width = sum(widths) + _GAP * (len(widths) + 1)
    heights = [max(cell.shape[0] for cell in cells) for cells in rows]
    top = 2 * _LINE
    paper = np.full((top + sum(heights) + _GAP * len(heights), width, 3), _PAPER, np.uint8)
    _write(paper, title, (_GAP, _LINE + 4), _INK)
    for cells, height in zip(rows, heights, strict=True):
        left = _GAP
        for cell, wide in zip(cells, widths, strict=False):
            paper[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
            left += wide + _GAP
        top += height + _GAP
    return paper


def _save(path: Path, sheet: Picture) -> Path:
    _, packed = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    path.write_bytes(packed.tobytes())
    return path
