"""Plan documents: TOML and JSON say the same, faults name field, value and what was expected."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from infra.plans import schema_text
from rating.document_errors import DocumentError
from rating.plan_documents import plan_of_document, plan_of_text
from rating.plan_schema import plan_schema
from rating.plans import encode_plan
from tests.rating.test_plans import DOCUMENT

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = (DOCS / "examples" / "plan.toml").read_text(encoding="utf-8")
HEAD = 'plan_id = "a"\nname = "A"\ncurrency = "BDT"\n'
METER = HEAD + '[[meters]]\nmeter_id = "data"\n'


def test_the_published_schema_is_the_codes() -> None:
    """`flowrate plans schema > docs/plan.schema.json` writes it anew."""
    assert (DOCS / "plan.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_takes_what_the_code_takes() -> None:
    jsonschema.Draft202012Validator.check_schema(plan_schema())
    jsonschema.validate(DOCUMENT, plan_schema())
    jsonschema.validate(json.loads(encode_plan(plan_of_document(DOCUMENT))), plan_schema())
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate({**DOCUMENT, "colour": "red"}, plan_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**DOCUMENT, "recurring_fee": 812.5}, plan_schema())


def test_toml_and_json_are_the_same_plan() -> None:
    plan = plan_of_text(EXAMPLE, "toml")
    assert plan_of_text(encode_plan(plan), "json") == plan
    assert plan.version == 1
    assert plan.meters[0].class_weights == {"local": (1, 2)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'A'\ncurrency = 'BDT'", "plan_id: expected this field, which is missing"),
        (HEAD + 'kind = "free"', 'kind = "free": expected one of postpaid, prepaid'),
        (HEAD + "recurring_fee = 5.0", "recurring_fee = 5.0: expected an exact decimal"),
        (HEAD.replace("BDT", "XXX"), "currency = \"XXX\": unknown currency 'XXX'"),
        (HEAD + "colour = 1", "colour = 1: unknown; expected one of the fields plan_id, version"),
        (
            METER + 'curve = { model = "magic" }',
            'meters[0].curve.model = "magic": expected one of flat, payg, allowance_overage',
        ),
        (
            METER + 'curve = { model = "payg", unit_pric = "1" }',
            'meters[0].curve.unit_pric = "1": unknown; expected one of the fields model, unit_pr',
        ),
        (
            METER + 'curve = { model = "payg", unit_price = "1", unit = 0 }',
            "meters[0].curve.unit = 0: must be 1 or more",
        ),
        (
            METER + 'class_weights = { x = [1, 0] }\ncurve = { model = "payg", unit_price = "1" }',
            "meters[0].class_weights.x = [1, 0]: expected [0 or more, 1 or more]",
        ),
        ("plan_id =", "the text is not TOML: Invalid value (at end of document)"),
    ],
)
def test_a_fault_names_field_value_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        plan_of_text(text, "toml")
    assert str(caught.value).startswith(message)


def test_a_document_that_is_no_object_is_refused() -> None:
    with pytest.raises(DocumentError, match="expected an object"):
        plan_of_text("[]", "json")
