"""Health for supervisors and Prometheus metrics for operators. No patient data passes here."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Event

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from config.errors import LedgerError
from config.settings import Settings
from dicom_node.ledger import Ledger


class LedgerCollector:
    """Reads the ledger's counts at every scrape; the ledger is the one place where all processes count."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[Metric]:
        status = self._ledger.status()
        studies = GaugeMetricFamily("medreid_studies", "Studies by state", labels=["state"])
        for state, number in status.studies.items():
            studies.add_metric([state.value], number)
        yield studies
        worklist = GaugeMetricFamily("medreid_worklist", "Open worklist items by kind", labels=["kind"])
        for kind, number in status.worklist.items():
            worklist.add_metric([kind.value], number)
        yield worklist
        yield GaugeMetricFamily("medreid_enrolled_patients", "Patients known to the node", value=status.patients)
        yield GaugeMetricFamily("medreid_embeddings", "Embeddings in the ledger", value=status.embeddings)
        yield GaugeMetricFamily(
            "medreid_oldest_ready_seconds",
            "Age of the oldest study that waits for a worker",
            value=status.oldest_ready_age or 0,
        )
        events = CounterMetricFamily("medreid_events", "Named events and refusals", labels=["name", "labels"])
        for counter in status.counters:
            labels = ",".join(f"{key}={value}" for key, value in sorted(counter.labels.items()))
            events.add_metric([counter.name, labels], counter.value)
        yield events


def create_app(settings: Settings, ledger: Ledger) -> FastAPI:
    """The application; ``/health/live`` answers while the process does, ``/health/ready`` while the node works."""
    app = FastAPI(title="MedReID", docs_url=None, redoc_url=None, openapi_url=None)
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger))

    @app.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/health/ready")
    def ready(response: Response) -> dict[str, str]:
        problems = {"ledger": _ledger_problem(ledger), "listener": listener_problem(settings)}
        found = {name: problem for name, problem in problems.items() if problem}
        if found:
            response.status_code = 503
        return found or {"status": "ok"}

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def run_web(settings: Settings, stopping: Event) -> None:
    """Serves until SIGTERM (uvicorn's own handler)."""
    app = create_app(settings, Ledger.open(settings.ledger_url))
    uvicorn.run(app, host=settings.web.host, port=settings.web.port, log_level="warning", access_log=False)
    stopping.set()


def _ledger_problem(ledger: Ledger) -> str:
    try:
        ledger.status()
    except LedgerError as error:
        return error.reason
    return ""


def listener_problem(settings: Settings) -> str:
    """A socket that connects and closes is what the listener's guard is for: no association comes of it."""
    host = "127.0.0.1" if settings.dicom.host in ("0.0.0.0", "") else settings.dicom.host  # noqa: S104
    try:
        with socket.create_connection((host, settings.dicom.port), timeout=2):
            return ""
    except OSError:
        return "NOT_LISTENING"
