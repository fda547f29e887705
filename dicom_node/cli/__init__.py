"""The command ``medreid``."""

from dicom_node.cli.app import main

__all__ = ["main"]
