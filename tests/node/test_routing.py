from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigError
from config.routing import read_routing
from config.settings import Settings
from dicom_node.routing import NO_RULE, ReloadingRules, Route, RoutingRules, rules_path
from inference.types import InstanceHeader, SeriesHeader

CT = "1.2.840.10008.5.1.4.1.1.2"
CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
MG = "1.2.840.10008.5.1.4.1.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SC = "1.2.840.10008.5.1.4.1.1.7"
MULTIFRAME_SC = "1.2.840.10008.5.1.4.1.1.7.4"
OP = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
OPT = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
XC = "1.2.840.10008.5.1.4.1.1.77.1.4"
SR = "1.2.840.10008.5.1.4.1.1.88.22"
KO = "1.2.840.10008.5.1.4.1.1.88.59"
PR = "1.2.840.10008.5.1.4.1.1.11.1"
ECG = "1.2.840.10008.5.1.4.1.1.9.1.1"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"


def instance(sop_class: str, syntax: str = "1.2.840.10008.1.2.1", **attributes: Any) -> InstanceHeader:
    defaults = {"Rows": 512, "Columns": 512}
    return InstanceHeader("1.9", sop_class, syntax, "1.1", "1.2", Path("x"), defaults | attributes)


def series(*instances: InstanceHeader) -> SeriesHeader:
    return SeriesHeader("1.1", "1.2", instances)


def region(code: str) -> list[dict[str, Any]]:
    return [{"CodeValue": code, "CodingSchemeDesignator": "SCT"}]


@pytest.fixture(scope="module")
def rules() -> RoutingRules:
    return RoutingRules.load()


AXIAL = ["ORIGINAL", "PRIMARY", "AXIAL"]


@pytest.mark.parametrize(
    ("header", "encoder"),
    [
        (instance(CT, BodyPartExamined="HEAD", ImageType=AXIAL), "ct-face"),
        (instance(CT, BodyPartExamined=" head ", Modality="OT"), "ct-face"),
        (instance(CT, AnatomicRegionSequence=region("69536005")), "ct-face"),
        (instance(CT, BodyPartExamined="CHEST", SeriesDescription="Sinus 1.0 Br40"), "ct-face"),
        (instance(CT, StudyDescription="CCT / Schädel nativ"), "ct-face"),
        (instance(CT, BodyPartExamined="HEAD", ImageType=["DERIVED", "SECONDARY", "AXIAL"]), "ct-face"),
        (instance(CR, Modality="CR", BodyPartExamined="CHEST", ViewPosition="PA"), "general"),
        (instance(DX, Modality="DX", PresentationIntentType="FOR PRESENTATION"), "general"),
        (instance(DX, Modality="CR"), "general"),
        (instance(SC, Modality="CR"), "general"),
        (instance(SC, Modality="OT", ConversionType="DF"), "general"),
        (instance(OP, Modality="OP"), "general"),
        (instance(XC, Modality="XC", BodyPartExamined="EYE"), "general"),
        (instance(XC, Modality="XC", AnatomicRegionSequence=region("5665001")), "general"),
        (instance(SC, Modality="OT", SeriesDescription="Fundus OD"), "general"),
        (instance(MULTIFRAME_SC, Modality="OP", BodyPartExamined="RETINA"), "general"),
        (instance(MR, Modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M"]), "general"),
    ],
)
def test_series_for_an_encoder(rules: RoutingRules, header: InstanceHeader, encoder: str) -> None:
    route = rules.route(series(header))
    assert (route.encoders, route.reason) == ((encoder,), "")
    assert route.rule


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (instance(SR, Rows=None), "NOT_AN_IMAGE"),
        (instance(KO), "NOT_AN_IMAGE"),
        (instance(PR), "NOT_AN_IMAGE"),
        (instance(ECG), "NOT_AN_IMAGE"),
        (instance(PDF), "NOT_AN_IMAGE"),
        (instance(RTSTRUCT), "NOT_AN_IMAGE"),
        (instance(SEG), "NOT_AN_IMAGE"),
        (instance("1.2.3.4.5.private", Modality="SR"), "NOT_AN_IMAGE"),
        (instance(CR, Rows=None), "NOT_AN_IMAGE"),
        (instance(CT, Rows=0), "NOT_AN_IMAGE"),
        (instance(XC, syntax="1.2.840.10008.1.2.4.103", BodyPartExamined="EYE"), "VIDEO"),
        (instance(CT, BodyPartExamined="HEAD", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "LOCALIZER"),
        (instance(CT, BodyPartExamined="HEAD", ImageType=["DERIVED", "SECONDARY", "MPR"]), "DERIVED"),
        (instance(CT, BodyPartExamined="CHEST", ImageType=AXIAL), "NO_BONEPRINT_BUNDLE"),
        (instance(CT, BodyPartExamined="ABDOMEN", ImageType=AXIAL), "CT_WITHOUT_HEAD"),
        (instance(CT, SeriesDescription="Überkopf Thorax"), "NO_BONEPRINT_BUNDLE"),
        (instance(DX_FOR_PROCESSING), "FOR_PROCESSING"),
        (instance(DX, PresentationIntentType="FOR PROCESSING"), "FOR_PROCESSING"),
        (instance(MG), "NO_ENCODER_FOR_MAMMOGRAPHY"),
        (instance(SC, Modality="MG"), "NO_ENCODER_FOR_MAMMOGRAPHY"),
        (instance(OPT), "NO_ENCODER_FOR_OCT"),
        (instance(MR, SeriesDescription="3-plane LOC"), "LOCALIZER"),
        (instance(MR, ImageType=["DERIVED", "PRIMARY", "ADC"]), "DERIVED"),
        (instance(SC, Modality="OT", BurnedInAnnotation="YES"), "SECONDARY_CAPTURE"),
        (instance(XC, Modality="XC", BodyPartExamined="SKIN"), NO_RULE),
        (instance(ULTRASOUND, Modality="US"), NO_RULE),
        (instance("../../etc/passwd"), NO_RULE),
    ],
)
def test_series_for_nobody_have_a_named_reason(rules: RoutingRules, header: InstanceHeader, reason: str) -> None:
    route = rules.route(series(header))
    assert (route.encoders, route.reason) == ((), reason)


def test_all_instances_count_and_not_the_first(rules: RoutingRules) -> None:
    scout = instance(CT, BodyPartExamined="HEAD", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    slice_ = instance(CT, BodyPartExamined="", ImageType=AXIAL)
    assert rules.route(series(scout, slice_, slice_)).encoders == ("ct-face",)
    assert rules.route(series(scout, scout)).reason == "LOCALIZER"
    assert rules.route(series(instance(SC, BodyPartExamined="HEAD"), slice_, scout)).encoders == ("ct-face",)


def test_a_series_without_instances_has_no_route(rules: RoutingRules) -> None:
    assert rules.route(series()) == Route((), reason=NO_RULE)


def test_the_bundled_rules_name_the_encoders_there_are(rules: RoutingRules) -> None:
    assert rules.encoders == {"general", "ct-face"}
    assert all(rule.why.endswith(".") for rule in rules.file.rules)


A_OR_B = '{ any_of = [{ attribute = "Modality", all = { equals = "A" } },' + (
    ' { attribute = "Modality", all = { equals = "B" } }] }'
)
Compile = Callable[[str], RoutingRules]


@pytest.fixture
def compile_(tmp_path: Path) -> Compile:
    """Rules with a single condition, which lead to the encoder ``x``."""

    def compiled(condition: str) -> RoutingRules:
        path = tmp_path / "routing.toml"
        path.write_text(
            f'version = 1\n[[rules]]\nname = "r"\nwhy = "Because."\nwhen = [{condition}]\nencoders = ["x"]\n', "utf-8"
        )
        return RoutingRules.load(path)

    return compiled


@pytest.mark.parametrize(
    ("condition", "values", "holds"),
    [
        ('{ attribute = "Modality", all = { equals = "CT" } }', ["CT", "ct "], True),
        ('{ attribute = "Modality", all = { equals = "CT" } }', ["CT", "MR"], False),
        ('{ attribute = "Modality", all = { equals = "CT" } }', ["CT", None], False),
        ('{ attribute = "Modality", any = { equals = "CT" } }', ["MR", "CT"], True),
        ('{ attribute = "Modality", any = { equals = "CT" } }', ["MR", None], False),
        ('{ attribute = "Modality", none = { equals = "CT" } }', ["MR", None], True),
        ('{ attribute = "Modality", none = { equals = "CT" } }', ["MR", "CT"], False),
        ('{ attribute = "Modality", all = { in = ["CT", "MR"] } }', ["MR", "CT"], True),
        ('{ attribute = "Modality", all = { in = [1, "2"] } }', [1, 1.0, "2", "1"], True),
        ('{ attribute = "Modality", all = { present = true } }', ["MR", ""], False),
        ('{ attribute = "Modality", all = { present = false } }', [None, ""], True),
        ('{ attribute = "Modality", all = { present = false } }', [None, 0], False),
        ('{ attribute = "Modality", all = { between = [1, 2.5] } }', [1, 2.5, "2"], True),
        ('{ attribute = "Modality", all = { between = [1, 2.5] } }', [3], False),
        ('{ attribute = "Modality", any = { between = [1, 2.5] } }', ["x", None, True], False),
        ('{ attribute = "Modality", all = { matches = "^c" } }', ["CT", "cr"], True),
        ('{ attribute = "Modality", all = { matches = "t$" } }', ["CT", "cr"], False),
        ('{ attribute = "Modality", all = { equals = "B" } }', [["A", "B"]], True),
        ('{ attribute = ["SeriesNumber", "Modality"], all = { equals = "CT" } }', ["CT"], True),
        (A_OR_B, ["B"], True),
        (A_OR_B, ["A", "B"], False),
    ],
)  # fmt: skip
def test_quantifiers_and_tests(compile_: Compile, condition: str, values: list[Any], holds: bool) -> None:
    rules = compile_(condition)
    route = rules.route(series(*(instance(CT, Modality=value) for value in values)))
    assert bool(route.encoders) is holds


def test_sequences_are_reached_with_dots(compile_: Compile) -> None:
    rules = compile_('{ attribute = "AnatomicRegionSequence.CodeValue", any = { equals = "5665001" } }')
    for found, value in (
        (True, [{"CodeValue": "1"}, {"CodeValue": "5665001"}]),
        (False, [{"CodeMeaning": "5665001"}]),
        (False, "5665001"),
        (False, [None, 3]),
    ):
        assert bool(rules.route(series(instance(CT, AnatomicRegionSequence=value))).encoders) is found


def test_patterns_see_only_the_beginning_of_long_values(compile_: Compile) -> None:
    rules = compile_('{ attribute = "SeriesDescription", any = { matches = "head" } }')
    assert rules.route(series(instance(CT, SeriesDescription="head" + "x" * 10**6))).encoders
    assert not rules.route(series(instance(CT, SeriesDescription="x" * 10**6 + "head"))).encoders


ENCODED = 'encoders = ["x"]\n'
RULE = '[[rules]]\nname = "r"\nwhy = "Because."\nwhen = [{ attribute = "Modality", all = { equals = "CT" } }]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "version"),
        ("version = 1", "rules"),
        ("version = 2\n" + RULE + 'encoders = ["x"]', "version"),
        ("version = 1\nrule = 3\n" + RULE + 'encoders = ["x"]', r"line 2: rule: unknown key"),
        ("version = 1\n" + RULE + 'encoders = ["x"]\nmodalty = "CT"', r"line 7: .*modalty of rule 'r': unknown"),
        ("version = 1\n" + RULE + ENCODED + RULE.replace("all", "every") + ENCODED, r"line 10: .*every"),
        ("version = 1\n" + RULE + "encoders = []", "a reason"),
        ("version = 1\n" + RULE + 'encoders = ["x"]\nreason = "X"', "a reason"),
        ("version = 1\n" + RULE + 'encoders = ["X Y"]', "encoders"),
        ("version = 1\n" + 2 * (RULE + 'encoders = ["x"]\n'), "unique: r"),
        ("version = 1\n" + RULE.replace("equals", "equal") + 'encoders = ["x"]', "line 5: .*equal of rule"),
        ("version = 1\n" + RULE.replace('equals = "CT"', "") + 'encoders = ["x"]', "exactly one"),
        ("version = 1\n" + RULE.replace('"CT"', '"CT", present = true') + 'encoders = ["x"]', "exactly one"),
        ("version = 1\n" + RULE.replace('equals = "CT"', "between = [2, 1]") + ENCODED, "smaller number"),
        ("version = 1\n" + RULE.replace('equals = "CT"', 'matches = "(a+)+"') + 'encoders = ["x"]', "variable length"),
        ("version = 1\n" + RULE.replace('"Modality"', '"modality; DROP"') + 'encoders = ["x"]', "attribute"),
        ("version = 1\n" + RULE.replace("all =", "any_of = [], none =") + 'encoders = ["x"]\nwhy = "x"', "not TOML"),
        ("version = ", "not TOML"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_the_place_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        RoutingRules.load(path)
    assert str(path) in str(raised.value)
    assert raised.value.reason == "ROUTING"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        read_routing(tmp_path / "absent.toml")
    (tmp_path / "latin").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_routing(tmp_path / "latin")
    (tmp_path / "huge").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="larger"):
        read_routing(tmp_path / "huge")


def test_rules_follow_their_file_and_survive_a_bad_one(tmp_path: Path) -> None:
    path = tmp_path / "routing.toml"
    path.write_text("version = 1\n" + RULE + 'encoders = ["first"]')
    now, loaded = [0.0], []
    refused: list[ConfigError] = []
    rules = ReloadingRules(
        path, 5.0, on_refused=refused.append, on_loaded=lambda: loaded.append(1), clock=lambda: now[0]
    )
    ct = series(instance(CT, Modality="CT"))

    def replace(text: str) -> None:
        (tmp_path / "draft").write_text(text)
        (tmp_path / "draft").replace(path)

    assert rules.route(ct).encoders == ("first",)
    replace("version = 1\n" + RULE + 'encoders = ["second"]')
    assert rules.route(ct).encoders == ("first",), "looked before its time"
    now[0] = 5.0
    assert rules.route(ct).encoders == ("second",)
    replace("version = 1\n" + RULE + 'encoder = ["third"]')
    now[0] = 10.0
    assert rules.route(ct).encoders == ("second",)
    assert "encoder" in rules.problem and len(refused) == 1
    now[0] = 15.0
    assert rules.route(ct).encoders == ("second",)
    assert len(refused) == 1, "the same bad file was counted twice"
    path.unlink()
    now[0] = 20.0
    assert rules.route(ct).encoders == ("second",) and "routing.toml" in rules.problem
    replace("version = 1\n" + RULE + 'encoders = ["fourth"]')
    now[0] = 25.0
    assert rules.route(ct).encoders == ("fourth",)
    assert (rules.problem, len(refused), len(loaded)) == ("", 2, 2)


def test_a_bad_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "routing.toml").write_text("version = 1")
    with pytest.raises(ConfigError):
        ReloadingRules(tmp_path / "routing.toml", 5.0)


def test_the_settings_name_the_file_or_mean_the_bundled_one(settings: Settings) -> None:
    assert rules_path(settings.routing) is None
    assert ReloadingRules(None, 5.0).current.encoders == {"general", "ct-face"}
    assert rules_path(settings.routing.model_copy(update={"file": "/site.toml"})) == Path("/site.toml")
