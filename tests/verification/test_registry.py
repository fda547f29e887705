"""Which verifier takes which image."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from config.errors import EncoderError
from inference.types import LoadedSeries
from inference.verification.protocol import Verifier
from inference.verification.registry import VERIFIERS, verifier, verifier_for, verifiers


def test_every_verifier_is_there_and_keeps_its_name() -> None:
    assert verifiers().keys() == VERIFIERS.keys()
    for name, one in verifiers().items():
        assert isinstance(one, Verifier)
        assert one.name == name
        assert one.version
        assert verifier(name) is one


def test_an_image_finds_its_verifier() -> None:
    volume = LoadedSeries("1", "2", (), "CT", "volume", np.zeros((4, 4, 4), np.float32), (1.0,) * 3, np.eye(4))
    assert verifier_for(volume) is verifier("volume")
    assert verifier_for(replace(volume, modality="MR")) is verifier("volume")
    assert verifier_for(replace(volume, modality="PT")) is None
    film = LoadedSeries("1", "2", (), "DX", "radiograph", np.zeros((64, 64), np.float32), (0.2, 0.2))
    assert verifier_for(film) is verifier("radiograph")
    eye = LoadedSeries("1", "2", (), "OP", "fundus", np.zeros((64, 64, 3), np.uint8), (np.nan, np.nan))
    assert verifier_for(eye) is verifier("fundus")


def test_an_unknown_verifier_is_named() -> None:
    with pytest.raises(EncoderError) as caught:
        verifier("palm")
    assert caught.value.reason == "VERIFIER_UNKNOWN"
    assert "palm" in str(caught.value)


def test_looking_for_verifiers_loads_nothing_heavy() -> None:
    program = (
        "import sys; from inference.verification.registry import verifiers; verifiers(); "
        "sys.exit(bool({'torch', 'vtk', 'SimpleITK', 'cv2', 'scipy', 'skimage', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
