"""A visit: a draw of everything that is not the person, from dials with documented defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta

from training.cohort.chance import stream
from training.cohort.dials.bone_view import BoneViewDials, BoneViewVisit, draw_bone_view
from training.cohort.dials.chest_ct import ChestCtDials, ChestCtVisit, draw_chest_ct
from training.cohort.dials.chest_film import ChestFilmDials, ChestFilmVisit, draw_chest_film
from training.cohort.dials.face_photo import FacePhotoDials, FacePhotoVisit, draw_face_photo
from training.cohort.dials.fundus import FundusDials, FundusVisit, draw_fundus
from training.cohort.dials.head_ct import HeadCtDials, HeadCtVisit, draw_head_ct
from training.cohort.dials.head_mr import HeadMrDials, HeadMrVisit, draw_head_mr
from training.cohort.dials.histology import HistologyDials, HistologyVisit, draw_histology
from training.cohort.dials.skin import SkinDials, SkinVisit, draw_skin
from training.cohort.dials.skull_film import SkullFilmDials, SkullFilmVisit, draw_skull_film
from training.cohort.draw import Draw
from training.cohort.illness import Illness, IllnessDials, illness
from training.cohort.person import Person, first_day

SITES = ("NORTH", "HARBOUR", "PARK")
# DICOM modalities that have machines of their own at every site.
_MACHINES = ("CT", "MR", "DX", "OP", "XC", "SM")


@dataclass(frozen=True, slots=True)
class Dials:
    """Everything that may be turned.

    ``interval_days`` is the range between two visits; ``units`` how many machines of a modality a site has. Sites and
    machines are drawn anew for every visit unless ``coupled``: then each person always meets the same ones, which makes
    the machine a shortcut to the person.
    """

    interval_days: tuple[int, int] = (5, 700)
    units: int = 2
    coupled: bool = False
    weight_sd: float = 1.0  # how much the weight varies between visits; each kind says what it does
    illness: IllnessDials = field(default_factory=IllnessDials)
    head_ct: HeadCtDials = field(default_factory=HeadCtDials)
    head_mr: HeadMrDials = field(default_factory=HeadMrDials)
    skull_film: SkullFilmDials = field(default_factory=SkullFilmDials)
    face_photo: FacePhotoDials = field(default_factory=FacePhotoDials)
    chest_film: ChestFilmDials = field(default_factory=ChestFilmDials)
    chest_ct: ChestCtDials = field(default_factory=ChestCtDials)
    bone_view: BoneViewDials = field(default_factory=BoneViewDials)
    fundus: FundusDials = field(default_factory=FundusDials)
    skin: SkinDials = field(default_factory=SkinDials)
    histology: HistologyDials = field(default_factory=HistologyDials)


@dataclass(frozen=True, slots=True)
class Visit:
    """Visit ``number`` of a person (0 is the first): when, where, and how each picture was taken.

    ``days`` counts from the cohort's first day, ``ageing`` is that in years; ``devices`` names the machine of every
    modality; ``weight`` is the day's fat in standard deviations.
    """

    number: int
    moment: datetime
    days: int
    site: str
    devices: Mapping[str, str]
    weight: float
    illness: Illness
    head_ct: HeadCtVisit
    head_mr: HeadMrVisit
    skull_film: SkullFilmVisit
    face_photo: FacePhotoVisit
    chest_film: ChestFilmVisit
    chest_ct: ChestCtVisit
    bone_view: BoneViewVisit
    fundus: FundusVisit
    skin: SkinVisit
    histology: HistologyVisit

    @property
    def ageing(self) -> float:
        return self.days / 365.25


def visit(who: Person, number: int, dials: Dials | None = None) -> Visit:
    """The ``number``-th visit of a person; visits are in order of time and do not depend on how many there are."""
    dials = dials or Dials()
    days = _days(who, number, dials)
    rng = stream(who.seed, "visit", who.number, number, "day")
    day: date = first_day(who.seed) + timedelta(days=days[-1])
    clock = time(int(rng.integers(7, 20)), int(rng.integers(0, 60)), int(rng.integers(0, 60)))
    site, devices = _place(who, number, dials)
    trend = float(stream(who.seed, "weight", who.number).normal(0.0, 0.25))
    change = float(stream(who.seed, "visit", who.number, number, "weight").standard_normal())
    weight = dials.weight_sd * max(-2.5, min(2.5, change + trend * days[-1] / 365.25))
    ages = [who.years(first_day(who.seed) + timedelta(days=n)) for n in days]
    ill = illness(who.seed, who.number, ages, dials.illness)

    def draw(kind: str, modality: str) -> Draw:
        return Draw(
            stream(who.seed, "visit", who.number, number, kind), stream(who.seed, "device", devices[modality], kind)
        )

    return Visit(
        number=number,
        moment=datetime.combine(day, clock),
        days=days[-1],
        site=site,
        devices=devices,
        weight=weight,
        illness=ill,
        head_ct=draw_head_ct(draw("head ct", "CT"), dials.head_ct, weight, ill),
        head_mr=draw_head_mr(draw("head mr", "MR"), dials.head_mr, weight, ill),
        skull_film=draw_skull_film(draw("skull film", "DX"), dials.skull_film, weight, ill),
        face_photo=draw_face_photo(draw("face photo", "XC"), dials.face_photo, weight, ill),
        chest_film=draw_chest_film(draw("chest film", "DX"), dials.chest_film, weight, ill),
        chest_ct=draw_chest_ct(draw("chest ct", "CT"), dials.chest_ct, weight),
        bone_view=draw_bone_view(draw("bone view", "CT"), dials.bone_view),
        fundus=draw_fundus(draw("fundus", "OP"), dials.fundus, ill),
        skin=draw_skin(draw("skin", "XC"), dials.skin),
        histology=draw_histology(draw("histology", "SM"), dials.histology),
    )


def _days(who: Person, number: int, dials: Dials) -> list[int]:
    """The days of all visits up to this one."""
    days = [int(stream(who.seed, "visit", who.number, 0, "interval").integers(0, 300))]
    for n in range(1, number + 1):
        gap = stream(who.seed, "visit", who.number, n, "interval").integers(*dials.interval_days, endpoint=True)
        days.append(days[-1] + int(gap))
    return days


def _place(who: Person, number: int, dials: Dials) -> tuple[str, Mapping[str, str]]:
    """The site and the machine of every modality there."""
    whose = (who.seed, "home", who.number) if dials.coupled else (who.seed, "visit", who.number, number, "place")
    rng = stream(*whose)
    site = SITES[int(rng.integers(len(SITES)))]
    return site, {name: f"{site}-{name}{int(rng.integers(dials.units)) + 1}" for name in _MACHINES}


def with_view(one: Visit, view: str) -> Visit:
    """The same visit with the chest film taken in another view: ``PA``, ``AP`` or ``LL`` (left lateral)."""
    return replace(one, chest_film=replace(one.chest_film, view=view))
