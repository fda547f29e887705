"""Settings: the commented defaults, a site file over them, ``MEDREID_SECTION__KEY`` variables over both."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.errors import ConfigError

HOME_VARIABLE = "MEDREID_HOME"
CONFIG_VARIABLE = "MEDREID_CONFIG"
PREFIX = "MEDREID_"
# Variables that tune tests and tools and are no settings.
RESERVED = frozenset({HOME_VARIABLE, CONFIG_VARIABLE, "MEDREID_TEST_DATA", "MEDREID_CRASH_POINT", "MEDREID_SUPERVISED"})


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSettings(Section):
    name: str = Field(min_length=1, max_length=64)
    workers: int = Field(ge=1, le=64)
    embedding_key_file: str


class DicomSettings(Section):
    ae_title: str = Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$")
    host: str
    port: int = Field(ge=0, le=65535)
    allowed_calling_ae_titles: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    check_called_ae_title: bool
    max_associations: int = Field(ge=1, le=512)
    max_pdu_length: int = Field(ge=4096, le=16 * 1024 * 1024)
    max_waiting_sockets: int = Field(ge=1, le=1024)
    first_byte_timeout: float = Field(gt=0)
    network_timeout: float = Field(gt=0)
    tls_certificate_file: str
    tls_key_file: str
    tls_ca_file: str


class SpoolSettings(Section):
    min_free_bytes: int = Field(ge=0)
    retention_seconds: float = Field(ge=0)


class LedgerSettings(Section):
    url: str


class AssemblySettings(Section):
    quiet_seconds: float = Field(ge=0)
    stale_seconds: float = Field(gt=0)


class WorkerSettings(Section):
    poll_seconds: float = Field(gt=0)
    lease_seconds: float = Field(gt=0)
    max_attempts: int = Field(ge=1)
    retry_seconds: float = Field(ge=0)
    max_retry_seconds: float = Field(ge=0)


class OrphanSettings(Section):
    placeholder_ids: tuple[str, ...]
    placeholder_id_patterns: tuple[str, ...]
    placeholder_issuer_patterns: tuple[str, ...]
    placeholder_name_patterns: tuple[str, ...]
    placeholder_birth_dates: tuple[str, ...]
    max_persons_per_id: int = Field(ge=1)


class Normalisation(Section):
    strip_leading_zeros: bool = False
    upper_case: bool = False


class IdentitySettings(Section):
    default_issuer: str
    normalise: dict[str, Normalisation] = Field(default_factory=dict)


class RoutingSettings(Section):
    file: str
    reload_seconds: float = Field(gt=0)


class ImagingSettings(Section):
    allow: tuple[str, ...]
    max_decoded_bytes: int = Field(gt=0)


class EncoderSettings(Section):
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    batch_size: int = Field(ge=1)
    bundles: str


class GallerySettings(Section):
    candidates: int = Field(ge=2, le=1000)


class VerificationSettings(Section):
    enabled: bool
    candidates: int = Field(ge=1, le=1000)


class EvidenceSettings(Section):
    objects: bool


class CalibrationSettings(Section):
    trusted_scopes: tuple[str, ...]


class DemographicSettings(Section):
    sex_error: float = Field(gt=0, lt=0.5)
    birth_swapped: float = Field(gt=0, lt=0.2)
    birth_year_off: float = Field(gt=0, lt=0.2)
    birth_part_off: float = Field(gt=0, lt=0.2)
    birth_different: float = Field(gt=0, lt=0.2)
    year_off: int = Field(ge=1, le=20)
    age_near: float = Field(gt=0, lt=0.4)
    age_different: float = Field(gt=0, lt=0.4)
    date_order_error: float = Field(gt=0, lt=0.5)
    date_order_strangers: float = Field(gt=0, lt=1)


class PolicySettings(Section):
    name: str
    prior_enrolled: float = Field(gt=0, lt=1)
    fpir: float = Field(gt=0, le=0.5)
    link_posterior: float = Field(gt=0.5, lt=1)
    link_log10_lr: float = Field(ge=0)
    link_margin_log10: float = Field(ge=0)
    link_quality: float = Field(ge=0, le=1)
    review_posterior: float = Field(ge=0, lt=1)
    correlation_discount: float = Field(ge=0, le=1)
    demographics: DemographicSettings


class ArchiveSettings(Section):
    kind: Literal["local", "orthanc"]
    url: str
    user: str
    password_file: str
    timeout_seconds: float = Field(gt=0)
    follow_changes: bool
    poll_seconds: float = Field(gt=0)
    quiet_seconds: float = Field(ge=0)


class WebSettings(Section):
    host: str
    port: int = Field(ge=0, le=65535)


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    format: Literal["console", "json"]


class Settings(Section):
    """All settings of a node. ``home`` holds all of its state."""

    home: Path
    node: NodeSettings
    dicom: DicomSettings
    spool: SpoolSettings
    ledger: LedgerSettings
    assembly: AssemblySettings
    worker: WorkerSettings
    orphans: OrphanSettings
    identity: IdentitySettings
    routing: RoutingSettings
    imaging: ImagingSettings
    encoders: EncoderSettings
    gallery: GallerySettings
    verification: VerificationSettings
    evidence: EvidenceSettings
    calibration: CalibrationSettings
    policy: PolicySettings
    archive: ArchiveSettings
    web: WebSettings
    log: LogSettings

    @property
    def ledger_url(self) -> str:
        return self.ledger.url or f"sqlite:///{self.home / 'ledger.sqlite3'}"

    @property
    def spool_folder(self) -> Path:
        return self.home / "spool"

    @property
    def archive_folder(self) -> Path:
        return self.home / "archive"

    @property
    def gallery_folder(self) -> Path:
        return self.home / "gallery"

    @property
    def audit_head_file(self) -> Path:
        return self.home / "audit.head"

    @property
    def calibration_folder(self) -> Path:
        return self.home / "calibration"

    @property
    def bundle_folder(self) -> Path:
        return Path(self.encoders.bundles) if self.encoders.bundles else self.home / "bundles"


def default_text() -> str:
    """The commented default settings as they ship."""
    return resources.files("config").joinpath("default.toml").read_text(encoding="utf-8")


def load_settings(
    site_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    home: Path | None = None,
) -> Settings:
    """Reads defaults, then ``site_file`` (or ``MEDREID_CONFIG``), then ``MEDREID_*`` variables.

    Raises
    ------
    ConfigError
        naming the unknown or unusable key, and where it stands.
    """
    environment = os.environ if environment is None else environment
    values = tomllib.loads(default_text())
    if site_file is None and environment.get(CONFIG_VARIABLE):
        site_file = Path(environment[CONFIG_VARIABLE])
    if site_file is not None:
        _overlay(values, _read_toml(site_file), str(site_file))
    _overlay_environment(values, environment)
    values["home"] = _home(environment, home)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _home(environment: Mapping[str, str], home: Path | None) -> Path:
    if home is None:
        text = environment.get(HOME_VARIABLE)
        home = Path(text) if text else Path.cwd() / "medreid-home"
    return home.expanduser().absolute()


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"settings file {path}: {error.strerror}; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"settings file {path} is not TOML: {error}") from None


def _overlay(base: dict[str, Any], extra: Mapping[str, Any], source: str, prefix: str = "") -> None:
    for key, value in extra.items():
        name = f"{prefix}{key}"
        free_form = prefix.startswith("identity.") or name == "identity.normalise"
        if key not in base and not free_form:
            raise ConfigError(f"unknown setting {name!r} in {source}; see config/default.toml for those there are")
        if isinstance(value, Mapping) and isinstance(base.get(key, {}), dict):
            _overlay(base.setdefault(key, {}), value, source, f"{name}.")
        else:
            base[key] = value


def _overlay_environment(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable in RESERVED:
            continue
        section, _, key = variable.removeprefix(PREFIX).lower().partition("__")
        if section not in values or key not in values[section]:
            raise ConfigError(
                f"unknown variable {variable}; settings are named MEDREID_SECTION__KEY, e.g. MEDREID_DICOM__PORT"
            )
        values[section][key] = _parse(environment[variable], values[section][key])


def _parse(text: str, default: Any) -> Any:
    """Lists and tables are written as JSON, or a list as comma-separated text; pydantic converts the rest."""
    if isinstance(default, list | dict):
        try:
            return json.loads(text)
        except ValueError:
            return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _explain(error: ValidationError) -> str:
    parts = [f"{'.'.join(str(p) for p in item['loc'])}: {item['msg']}" for item in error.errors()]
    return "settings cannot be used: " + "; ".join(parts)
