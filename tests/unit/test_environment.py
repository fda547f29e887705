"""The locked environment, and what importing the packages costs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions, packages_distributions

import pytest

import config.errors
from config.errors import MedReIDError

OURS = ("config", "inference", "training", "deid", "dicom_node")


def test_no_other_distribution_imports_under_our_names() -> None:
    owners = packages_distributions()
    for name in OURS:
        assert set(owners.get(name, ["medreid"])) == {"medreid"}, f"{name} comes from {owners[name]} as well"


def test_nothing_that_is_linked_to_cuda_vision_is_there() -> None:
    names = {(distribution.metadata["Name"] or "").lower() for distribution in distributions()}
    assert not names & {"torchvision", "timm", "torchaudio"}


@pytest.mark.parametrize("package", ["config", "inference", "dicom_node", "dicom_node.cli.app"])
def test_importing_a_package_does_not_load_the_heavy_libraries(package: str) -> None:
    heavy = ("torch", "vtk", "SimpleITK", "sqlalchemy", "cv2")
    code = f"import sys, {package}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_error_stands_in_the_tree_that_the_docstring_draws() -> None:
    drawn = config.errors.__doc__ or ""
    classes = [value for value in vars(config.errors).values() if isinstance(value, type)]
    assert all(issubclass(cls, MedReIDError) for cls in classes)
    assert all(cls.__name__ in drawn for cls in classes)
    assert sorted(config.errors.__all__) == list(config.errors.__all__)
    assert {cls.__name__ for cls in classes} == set(config.errors.__all__)
