"""Settings: three layers, and an unknown key is an error that names it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.settings import default_text, load_settings


def test_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    settings = load_settings(environment={}, home=tmp_path)
    assert settings.dicom.ae_title == "MEDREID"
    assert (settings.dicom.host, settings.dicom.port) == ("127.0.0.1", 11112)
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", 8800)
    assert settings.ledger_url == f"sqlite:///{tmp_path / 'ledger.sqlite3'}"


def test_every_default_carries_a_comment_or_a_commented_section() -> None:
    commented = False
    for line in default_text().splitlines():
        if line.startswith("#") or line.startswith("["):
            commented = True
        elif not line.strip():
            commented = False
        else:
            assert commented, f"no comment stands above {line!r}"


def test_a_site_file_overrides_and_the_environment_overrides_it(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[dicom]\nport = 104\nae_title = "SITE"\n')
    settings = load_settings(site, {"MEDREID_DICOM__PORT": "11999"}, tmp_path)
    assert (settings.dicom.ae_title, settings.dicom.port) == ("SITE", 11999)


def test_lists_in_the_environment_are_json_or_comma_separated(tmp_path: Path) -> None:
    for text in ("CT1,MR2", '["CT1", "MR2"]'):
        settings = load_settings(environment={"MEDREID_DICOM__ALLOWED_CALLING_AE_TITLES": text}, home=tmp_path)
        assert settings.dicom.allowed_calling_ae_titles == ("CT1", "MR2")


@pytest.mark.parametrize("text", ["[dicom]\nprot = 1\n", "[dicm]\nport = 1\n", "port = 1\n"])
def test_an_unknown_key_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    site = tmp_path / "site.toml"
    site.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(site, {}, tmp_path)
    assert next(name for name in ("prot", "dicm", "port") if name in text) in str(caught.value)


def test_an_unknown_variable_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MEDREID_DICOM__PROT"):
        load_settings(environment={"MEDREID_DICOM__PROT": "1"}, home=tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[dicom]\nport = 70000\n", "dicom.port"),
        ('[dicom]\nae_title = "MORE THAN SIXTEEN CHARACTERS"\n', "dicom.ae_title"),
        ("[policy]\nlink_posterior = 1.5\n", "policy.link_posterior"),
        ('[archive]\nkind = "pacs"\n', "archive.kind"),
    ],
)
def test_an_unusable_value_is_an_error_that_names_its_key(tmp_path: Path, text: str, named: str) -> None:
    site = tmp_path / "site.toml"
    site.write_text(text)
    with pytest.raises(ConfigError, match=named):
        load_settings(site, {}, tmp_path)


def test_a_missing_or_broken_site_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_settings(tmp_path / "nowhere.toml", {}, tmp_path)
    (tmp_path / "broken.toml").write_text("[dicom\n")
    with pytest.raises(ConfigError, match=r"broken\.toml is not TOML"):
        load_settings(tmp_path / "broken.toml", {}, tmp_path)


def test_normalisers_are_free_form_by_issuer_but_not_inside(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[identity.normalise."HOSPITAL A"]\nstrip_leading_zeros = true\n')
    assert load_settings(site, {}, tmp_path).identity.normalise["HOSPITAL A"].strip_leading_zeros
    site.write_text('[identity.normalise."HOSPITAL A"]\nstrip_zeros = true\n')
    with pytest.raises(ConfigError, match="strip_zeros"):
        load_settings(site, {}, tmp_path)


def test_the_shipped_file_is_the_one_that_is_read() -> None:
    assert tomllib.loads(default_text())["node"]["name"] == "MedReID"
