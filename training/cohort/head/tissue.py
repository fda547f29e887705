"""What each tissue of the head looks like to a machine: one palette for CT, one for T1-weighted MR."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tissues:
    """A value for each tissue. The anatomy is painted once; the palette decides what it is painted with."""

    air: float
    skin: float
    fat: float
    muscle: float
    gland: float
    mucosa: float
    cartilage: float
    compact: float  # the outer shell of bone
    spongy: float  # its marrow
    enamel: float
    pulp: float
    metal: float
    grey: float
    nuclei: float  # thalamus and basal ganglia
    white: float
    fluid: float
    dura: float
    sinus: float  # venous blood
    humour: float
    lens: float
    sclera: float
    nerve: float
    clot: float
    oedema: float
    pus: float  # what fills a sick sinus
    disc: float


# Hounsfield units at 120 kV, of the order of textbook values.
CT = Tissues(
    air=-1000.0,
    skin=30.0,
    fat=-95.0,
    muscle=55.0,
    gland=15.0,
    mucosa=45.0,
    cartilage=150.0,
    compact=1350.0,
    spongy=550.0,
    enamel=2100.0,
    pulp=600.0,
    metal=3000.0,
    grey=38.0,
    nuclei=38.0,
    white=29.0,
    fluid=7.0,
    dura=55.0,
    sinus=52.0,
    humour=10.0,
    lens=95.0,
    sclera=45.0,
    nerve=35.0,
    clot=68.0,
    oedema=18.0,
    pus=18.0,
    disc=80.0,
)

# Signal of an inversion-prepared gradient echo at 1.5 to 3 T, fat = 1000; a clot is some days old (methaemoglobin).
T1 = Tissues(
    air=0.0,
    skin=520.0,
    fat=1000.0,
    muscle=360.0,
    gland=560.0,
    mucosa=330.0,
    cartilage=230.0,
    compact=40.0,
    spongy=640.0,
    enamel=15.0,
    pulp=260.0,
    metal=0.0,
    grey=410.0,
    nuclei=500.0,
    white=640.0,
    fluid=110.0,
    dura=300.0,
    sinus=330.0,
    humour=95.0,
    lens=330.0,
    sclera=290.0,
    nerve=560.0,
    clot=800.0,
    oedema=280.0,
    pus=250.0,
    disc=300.0,
)
