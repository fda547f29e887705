"""Adapters: from the layout in which a data set is published to rows of a manifest."""

from __future__ import annotations

from config.errors import CommandError
from training.manifests.adapters import (
    ccii,
    chestxray14,
    chexpert,
    cptac_luad,
    dicom_folder,
    eyepacs,
    grape,
    listed_cxr,
    messidor2,
    mimic_cxr,
    oasis2,
    odir,
    tcia,
)
from training.manifests.adapters.adapter import Adapter

__all__ = ["ADAPTERS", "Adapter", "adapter_named"]

ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        dicom_folder.ADAPTER,
        *mimic_cxr.ADAPTERS,
        chestxray14.ADAPTER,
        chexpert.ADAPTER,
        *listed_cxr.ADAPTERS,
        ccii.ADAPTER,
        oasis2.ADAPTER,
        *tcia.ADAPTERS,
        eyepacs.ADAPTER,
        odir.ADAPTER,
        messidor2.ADAPTER,
        grape.ADAPTER,
        cptac_luad.ADAPTER,
    )
}


def adapter_named(name: str) -> Adapter:
    """The adapter of that name; CommandError ``NOT_FOUND`` with those there are."""
    try:
        return ADAPTERS[name]
    except KeyError:
        raise CommandError(
            f"there is no adapter {name!r}; those there are: {', '.join(sorted(ADAPTERS))}", reason="NOT_FOUND"
        ) from None
