"""The pages without a browser: logins, forms, headers, and what a template must escape."""

from __future__ import annotations

import html
import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api.keys import revoke_key
from api.web.session import COOKIE, login_path
from billing.adapters import tables
from billing.adapters.databases import reading, writing
from tests.api import sample
from tests.api.conftest import Clients
from tests.api.sample import NOW, World

PAGES = (
    "/",
    "/subscribers",
    "/subscribers?q=kamal",
    "/subscribers?q=nobody",
    "/subscribers/sub_0000a",
    "/subscribers/sub_0001a?done=throttle",
    "/subscribers/sub_0001a/tv",
    "/subscribers/sub_0003a/tv?done=paired",
    "/invoices",
    "/invoices?status=draft",
    "/invoices/inv_acc_0001_2026-10",
    "/invoices/inv_acc_0001_2026-10/lines/2",
    "/invoices/inv_acc_0001_2026-10/lines/2?level=session&on=2026-10-03",
    "/invoices/inv_acc_0001_2026-10/lines/2?level=minute&on=2026-10-03&session_id=s",
    "/invoices/inv_acc_0001_2026-10/lines/2?level=row&minute=2026-10-03T04:00:00Z&session_id=s",
    "/overdue",
    "/overdue/acc_0001",
    "/reports",
    "/reports?name=aging&first=2026-10-01&last=2026-11-30&aged_by=period",
    "/reports?name=mrr&first=2026-10-01&last=2026-11-30",
    "/reports?name=revenue&first=soon",
    "/quotes",
    "/quotes?plan=dhanmondi-home-100&day=2026-11-01&down=120.5&hours=3",
    "/quotes?plan=dhanmondi-home-100&day=2026-11-01&down=much",
    "/alerts",
    "/commands",
    "/commands?outcome=verified",
    "/status",
)


@pytest.fixture
def visitor(world: World, clients: Clients) -> TestClient:
    """Return a browser without a key but with the operator's session."""
    client = clients("")
    answer = client.post("/login", data={"key": sample.OPERATOR_TOKEN})
    assert answer.status_code == 200
    return client


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_shown_with_its_headers(visitor: TestClient, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", answer.text)
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "https://" not in answer.text


def test_a_report_is_a_table_a_chart_and_files(visitor: TestClient) -> None:
    days = "first=2026-10-01&last=2026-11-30"
    shown = visitor.get(f"/reports?name=mrr&{days}").text
    assert 'data-chart="report"' in shown
    assert "Closing, BDT" in shown
    for kind, begins in (("csv", b"\xef\xbb\xbfbranch_id"), ("xlsx", b"PK"), ("parquet", b"PAR1")):
        path = f"/reports/mrr/file?{days}&aged_by=due&kind={kind}"
        assert html.escape(path) in shown
        answer = visitor.get(path)
        assert answer.content.startswith(begins)
        assert f"mrr_2026-10-01_2026-11-30.{kind}" in answer.headers["content-disposition"]
    assert "from = &#39;soon&#39;: expected a day" in visitor.get("/reports?first=soon").text
    assert "expected one of aging" in visitor.get("/reports?name=profit").text
    assert visitor.get(f"/reports/mrr/file?{days}&kind=pdf").status_code == 404
    assert visitor.get("/reports/mrr/file?first=soon&last=now").status_code == 422


def test_the_calculator_shows_each_step_or_what_is_wrong(visitor: TestClient) -> None:
    path = "/quotes?plan=dhanmondi-home-100&day=2026-11-01&down="
    shown = visitor.get(path + "120").text
    for words in ("100 GB included", "20 GB × 10.00 per GB", "Tax 5 %", "100 % of Data used"):
        assert words in shown
    assert (
        "down = &#39;much&#39;: expected a number such as 12.5" in visitor.get(path + "much").text
    )
    assert "starts_on" in visitor.get(path.replace("2026-11-01", "soon") + "1").text


@pytest.mark.parametrize("path", [p for p in PAGES if "?" not in p])
def test_pages_need_a_login_and_lead_back(clients: Clients, path: str) -> None:
    client = clients("")
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    form = {"key": sample.OPERATOR_TOKEN, "next": path}
    assert client.post("/login", data=form).url.path == path


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(clients: Clients) -> None:
    answer = clients("").post("/login", data={"key": sample.OPERATOR_TOKEN}, follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert sample.OPERATOR_TOKEN not in cookie


def test_a_wrong_key_is_refused(world: World, clients: Clients) -> None:
    answer = clients("").post("/login", data={"key": "frk_nothing"})
    assert answer.status_code == 401
    assert "unknown or was revoked" in answer.text
    assert world.counted["pages_logins_refused_total"] == 1


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_a_login_leads_to_this_site_only(clients: Clients, path: str) -> None:
    form = {"key": sample.OPERATOR_TOKEN, "next": path}
    answer = clients("").post("/login", data=form, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_a_forged_cookie_is_nobody(visitor: TestClient) -> None:
    cookie = visitor.cookies[COOKIE]
    visitor.cookies.set(COOKIE, cookie[:-2] + ("AA" if cookie[-2:] != "AA" else "BB"))
    assert visitor.get("/", follow_redirects=False).status_code == 303


def test_revoking_a_key_ends_its_sessions(world: World, clients: Clients) -> None:
    client = clients("")
    client.post("/login", data={"key": world.keys["pokhara"]})
    assert client.get("/", follow_redirects=False).status_code == 200
    with writing(world.engine) as connection:
        revoke_key(connection, "key-pokhara", revoked_at=NOW)
    assert client.get("/", follow_redirects=False).status_code == 303


def test_a_login_link_works_from_this_machine_while_it_is_fresh(world: World) -> None:
    app = sample.application(world)
    secret = world.services.secret
    link = login_path(secret, "operator", NOW + 1000)
    near = TestClient(app, client=("127.0.0.1", 1), follow_redirects=False)
    far = TestClient(app, client=("192.0.2.1", 1), follow_redirects=False)
    assert near.get(link).headers["location"] == "/"
    assert far.get(link).status_code == 401
    assert near.get(login_path(secret, "operator", NOW)).status_code == 401
    assert near.get(login_path(b"another secret", "operator", NOW + 1000)).status_code == 401
    session = near.get(link).cookies[COOKIE]
    assert near.get(f"/login/{session}").status_code == 401, "a cookie is no link"


def test_a_form_needs_its_token(world: World, visitor: TestClient) -> None:
    path = "/subscribers/sub_0001a/commands"
    assert visitor.post(path, data={"action": "restore"}).status_code == 403
    assert world.counted["pages_csrf_refused_total"] == 1
    with reading(world.engine) as connection:
        assert connection.execute(select(tables.command_request)).all() == []


def test_a_double_click_is_one_command(world: World, visitor: TestClient) -> None:
    page = visitor.get("/subscribers/sub_0001a").text
    form = {"action": "throttle", "profile": "slow-2m", "csrf": csrf_of(page), "once": "f1"}
    for _ in range(2):
        answer = visitor.post("/subscribers/sub_0001a/commands", data=form)
        assert answer.status_code == 200
        assert "Throttle requested" in answer.text
    with reading(world.engine) as connection:
        assert len(connection.execute(select(tables.command_request)).all()) == 1


def test_a_top_up_by_hand(world: World, visitor: TestClient) -> None:
    csrf = csrf_of(visitor.get("/subscribers/sub_0001a").text)
    form = {"amount": "1,250.50", "reference": "till-7", "csrf": csrf}
    answer = visitor.post("/subscribers/sub_0001a/top-ups", data=form)
    assert "rating has not answered yet" in answer.text
    [event] = world.appended[0].frame.to_dicts()
    assert event["payload"] == '{"amount_minor":125050,"currency":"BDT"}'
    for amount in ("0", "-5", "1.005", "much"):
        refused = visitor.post(
            "/subscribers/sub_0001a/top-ups", data={"amount": amount, "csrf": csrf}
        )
        assert refused.status_code == 422
        assert "<h1>" in refused.text


def test_names_stay_text(world: World, visitor: TestClient) -> None:
    name = "<img src=x onerror=alert(1)>"
    with writing(world.engine) as connection:
        table = tables.subscriber
        statement = update(table).where(table.c.subscriber_id == "sub_0001a")
        connection.execute(statement.values(name=name))
    for path in ("/subscribers", "/subscribers/sub_0001a", "/commands", "/alerts", "/"):
        text = visitor.get(path).text
        assert "<img src=x" not in text
    assert "&lt;img src=x" in visitor.get("/subscribers/sub_0001a").text


def test_an_unchanged_panel_is_not_sent_again(world: World, visitor: TestClient) -> None:
    first = visitor.get("/panels/alerts", headers={"HX-Request": "true"})
    seen = re.search(r"seen=(\w+)", first.text)
    assert seen
    assert visitor.get(f"/panels/alerts?seen={seen[1]}").status_code == 204
    with writing(world.engine) as connection:
        connection.execute(tables.alert.delete().where(tables.alert.c.percent == 100))
    assert visitor.get(f"/panels/alerts?seen={seen[1]}").status_code == 200


def test_a_panel_without_a_login_sends_the_whole_page_there(clients: Clients) -> None:
    answer = clients("").get("/panels/alerts", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login"


def test_an_error_is_a_page_for_a_person(visitor: TestClient) -> None:
    answer = visitor.get("/subscribers/nobody")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is no" in answer.text
    assert answer.headers["content-security-policy"]


def test_a_branchs_pages_show_that_branch(world: World, clients: Clients) -> None:
    client = clients("")
    client.post("/login", data={"key": world.keys["pokhara"]})
    assert "Pokhara" in client.get("/").text
    assert "dhanmondi" not in client.get("/subscribers").text
    assert client.get("/subscribers/sub_0001a").status_code == 404
    assert "matched nobody" not in client.get("/status").text


def test_charts_fill_steps_without_usage(visitor: TestClient) -> None:
    for span, steps in (("hour", 60), ("day", 24), ("month", 30)):
        chart = visitor.get(f"/charts/usage.json?span={span}").json()
        assert len(chart["times"]) == steps
        assert all(len(one["values"]) == steps for one in chart["series"])
        assert chart["times"] == sorted(set(chart["times"]))


def test_the_live_chart_goes_on_where_it_was(world: World) -> None:
    app = sample.application(world)
    client = TestClient(app)
    client.post("/login", data={"key": sample.OPERATOR_TOKEN})
    app.state.live.take()
    first = client.get("/live.json").json()
    assert len(first["times"]) == 1
    assert first["down"][0] > 10**8
    assert client.get(f"/live.json?after={first['times'][0]}").json()["times"] == []


def test_the_live_memory_is_bounded(world: World) -> None:
    live = sample.application(world).state.live
    for _ in range(world.services.config.live_samples_max + 5):
        live.take()
    assert len(live.samples) == world.services.config.live_samples_max
