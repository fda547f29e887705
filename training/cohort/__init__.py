"""Digital phantom patients: anatomy, visits, modalities and a DICOM writer, all drawn from a seed."""

from training.cohort.chest_radiograph import chest_radiograph
from training.cohort.cohort import CohortPlan, make_cohort
from training.cohort.dicom_ct import write_head_ct
from training.cohort.dicom_dx import write_chest_radiograph
from training.cohort.head_ct import head_ct
from training.cohort.kinds import KINDS
from training.cohort.person import Person, person
from training.cohort.visit import Dials, Visit, visit

__all__ = [
    "KINDS",
    "CohortPlan",
    "Dials",
    "Person",
    "Visit",
    "chest_radiograph",
    "head_ct",
    "make_cohort",
    "person",
    "visit",
    "write_chest_radiograph",
    "write_head_ct",
]
