"""Reports: revenue, aging, MRR and more, in the format that the caller reads."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from api.models.reports import REPORT_EXAMPLE, Report, ReportOffer
from api.models.values import Page
from api.problems import Problem, invalid_parameter
from api.requests import Caller, CallerDep, DaysDep
from api.resources.answers import problems
from billing.adapters.databases import reading
from billing.adapters.report_files import FORMATS, TooManyRowsError
from billing.adapters.reports import REPORTS, run_report
from billing.reports.table import Question, ReportTable

router = APIRouter()

_FORMAT_NAMES = f"^({'|'.join(FORMATS)})$"
_MEDIA_TYPES = {found.media_type.partition(";")[0]: name for name, found in FORMATS.items()}

_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Report,
        "description": "The report, in the format asked for",
        "content": {
            "application/json": {"example": REPORT_EXAMPLE},
            **{
                media: {"schema": {"type": "string", "format": "binary"}, "example": "…"}
                for media, name in _MEDIA_TYPES.items()
                if name != "json"
            },
        },
    }
}


@router.get("/reports", tags=["reports"], responses=problems())
def list_reports(caller: CallerDep) -> Page[ReportOffer]:
    """List the reports that can be asked for."""
    return Page(items=offers())


def offers() -> list[ReportOffer]:
    """Return every report as it is offered."""
    return [
        ReportOffer(
            name=name,
            title=source.shape.title,
            description=source.shape.description,
            is_balance=source.shape.is_balance,
            url=f"/v1/reports/{name}",
        )
        for name, source in REPORTS.items()
    ]


def question_of(
    caller: CallerDep,
    days: DaysDep,
    branch_id: Annotated[str | None, Query(description="Only this branch")] = None,
    aged_by: Annotated[
        str, Query(pattern="^(due|period)$", description="From when a receivable ages")
    ] = "due",
    where: Annotated[
        list[str] | None,
        Query(description="Only rows with this key, `plan_id:home`; may be repeated"),
    ] = None,
) -> Question:
    """Return what a request asks of a report."""
    by_period = aged_by == "period"
    return Question(
        *days,
        _reachable(caller, branch_id),
        "period" if by_period else "due",
        _wanted(where or []),
    )


QuestionDep = Annotated[Question, Depends(question_of)]
"""What a request asks of a report, within its key's reach."""


def _reachable(caller: Caller, branch_id: str | None) -> str | None:
    """Return the branch asked for; a branch's own key reaches no other."""
    if branch_id is None or caller.branch_id in (None, branch_id):
        return branch_id or caller.branch_id
    raise Problem("not-found", f"There is no branch {branch_id!r} within this key's reach.")


def _wanted(words: list[str]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for word in words:
        name, colon, value = word.partition(":")
        if not colon:
            raise invalid_parameter("where", word, "column:value, such as plan_id:home")
        wanted.setdefault(name, []).append(value)
    return wanted


@router.get(
    "/reports/{name}", tags=["reports"], response_model=None, responses={**_FILES, **problems(404)}
)
def get_report(
    caller: CallerDep,
    name: str,
    question: QuestionDep,
    details: Annotated[bool, Query(description="The rows behind the sums, with their ids")] = False,
    format_name: Annotated[
        str | None, Query(alias="format", pattern=_FORMAT_NAMES, description="Before Accept")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Get a report of days or of a day's end, as JSON, CSV, XLSX or Parquet."""
    table = report_for(caller, name, question, has_details=details)
    return file_response(table, format_name or accepted_format(accept), question)


def report_for(caller: Caller, name: str, question: Question, *, has_details: bool) -> ReportTable:
    """Return a report within a caller's reach, or raise a Problem."""
    asked = dataclasses.replace(question, has_details=has_details)
    with reading(caller.services.engine) as connection:
        try:
            return run_report(connection, name, asked)
        except LookupError as error:
            raise Problem("not-found", str(error.args[0])) from None
        except ValueError as error:
            raise invalid_parameter("where", ", ".join(question.wanted), str(error)) from None


def accepted_format(accept: str) -> str:
    """Return the first format that an Accept header names; JSON where it names none."""
    for part in accept.split(","):
        name = _MEDIA_TYPES.get(part.partition(";")[0].strip().lower())
        if name:
            return name
    return "json"


def file_response(table: ReportTable, format_name: str, question: Question) -> Response:
    """Return a report as a file that a browser saves; JSON is shown."""
    found = FORMATS[format_name]
    try:
        octets = found.encode(table)
    except TooManyRowsError as error:
        raise invalid_parameter("format", format_name, str(error)) from None
    name = f"{table.shape.name}_{question.first_on}_{question.last_on}.{format_name}"
    headers = {"Vary": "Accept"}
    if format_name != "json":
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return Response(octets, media_type=found.media_type, headers=headers)
