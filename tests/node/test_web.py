"""Health and metrics: what supervisors and operators see, without patient data."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from config.settings import Settings
from dicom_node.ledger import Ledger
from dicom_node.web.app import create_app
from tests.ledger.builders import received


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    settings.home.mkdir(parents=True)
    with Ledger.of(settings) as opened:
        yield opened


@pytest.fixture
def client(settings: Settings, ledger: Ledger) -> TestClient:
    return TestClient(create_app(settings, ledger))


def test_the_process_is_live_and_the_node_ready_only_while_its_listener_answers(
    settings: Settings, ledger: Ledger
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dicom = settings.dicom.model_copy(update={"port": listener.getsockname()[1]})
        client = TestClient(create_app(settings.model_copy(update={"dicom": dicom}), ledger))
        assert client.get("/health/live").json() == {"status": "ok"}
        assert client.get("/health/ready").status_code == 200
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"listener": "NOT_LISTENING"})


def test_metrics_count_studies_and_refusals_and_name_nobody(client: TestClient, ledger: Ledger) -> None:
    one = received(1, "1.2.3")
    header = one.header
    assert header is not None
    named = replace(header, attributes={**header.attributes, "PatientName": "PHANTOM^0001", "PatientID": "PH-1"})
    ledger.ingest([replace(one, header=named)])
    ledger.count("image_refused", reason="LOCALIZER")
    text = client.get("/metrics").text
    assert 'medreid_studies{state="ASSEMBLING"} 1.0' in text
    assert 'medreid_events_total{labels="reason=LOCALIZER",name="image_refused"} 1.0' in text
    assert "PHANTOM" not in text
    assert "1.2.3" not in text


def test_nothing_else_is_served(client: TestClient) -> None:
    for path in ("/", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 404
