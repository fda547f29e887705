"""Networks by name: what is not there, or cannot be told so, is named."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from config.errors import EncoderError
from inference import networks


def test_an_unknown_network_is_named_beside_those_there_are() -> None:
    with pytest.raises(EncoderError, match=r"'vgg'.*efficientnet-lite0") as caught:
        networks.build("vgg", {})
    assert caught.value.reason == "NETWORK_UNKNOWN"


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("efficientnet-lite0", {"pool": "median"}, "median"),
        ("efficientnet-lite0", {"embedding": 0}, "embedding"),
        ("efficientnet-lite0", {"layers": 3}, "layers"),
        ("efficientnet-lite0", {"drop_connect": 1.0}, "drop_connect"),
        ("efficientnet-b0", {"pretrained": True}, "efficientnet-lite0"),
        ("resnet18", {"pretrained": True}, "pretrained"),
        ("hybrid", {"resnet": "resnet1001"}, "resnet1001"),
        ("hybrid", {"efficientnet": "efficientnet-b9"}, "efficientnet-b9"),
        ("modality-classifier", {"classes": ["CT"]}, "classes"),
        ("modality-classifier", {"dropout": 1}, "dropout"),
        ("modality-classifier", {"network": "vgg"}, "vgg"),
    ],
)
def test_settings_that_it_cannot_take_are_named(name: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(EncoderError, match=told):
        networks.build(name, settings)


def test_the_table_of_networks_costs_no_import() -> None:
    code = "import sys; import inference.networks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
