"""`flowrate dashboards publish` against a small HTTP stub that records what was sent.

The stub knows what Grafana's API documentation says; it is no evidence about a real Grafana.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dashboards.config import DashboardsConfig
from dashboards.live import LIVE_UID
from dashboards.operations import OPERATIONS_UID
from dashboards.publish import main
from dashboards.published import dashboards

TOKEN = "glsa_test"


class Grafana(ThreadingHTTPServer):
    """Remembers folders, data sources and dashboards by uid, and every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stored: dict[str, dict[str, Any]] = {
            "folders": {},
            "datasources": {},
            "dashboards": {},
        }
        self.requests: list[tuple[str, str, Any]] = []
        self.answer_with: tuple[int, bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/grafana"


class Handler(BaseHTTPRequestHandler):
    server: Grafana

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.requests.append((self.command, self.path, body))
        status, document = self._decide(body)
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _decide(self, body: Any) -> tuple[int, Any]:
        if self.server.answer_with:
            return self.server.answer_with
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return 401, {"message": "Invalid API key"}
        assert self.path.startswith("/grafana/api/")
        path = self.path.removeprefix("/grafana/api/")
        stored = self.server.stored
        if self.command == "POST" and path == "dashboards/db":
            uid = body["dashboard"]["uid"]
            assert body["folderUid"] in stored["folders"]
            if uid in stored["dashboards"] and not body["overwrite"]:
                return 412, {"message": "The dashboard has been changed by someone else"}
            stored["dashboards"][uid] = body
            return 200, {"uid": uid, "version": 1, "url": f"/d/{uid}"}
        kind = path.split("/")[0]
        if self.command == "POST":
            if body["uid"] in stored[kind]:
                return 409, {"message": "exists"}
            stored[kind][body["uid"]] = body
            return 200, body
        uid = path.split("/")[-1]
        if uid not in stored[kind]:
            return 404, {"message": "not found"}
        if self.command == "PUT":
            stored[kind][uid] = body
        return 200, stored[kind][uid]


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    server = Grafana()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def password(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text("read-secret\n", encoding="utf-8")
    return str(path)


def publish(grafana: Grafana, *more: str, token: str = TOKEN) -> int:
    return main(["--url", grafana.url, "--token", token, *more])


def test_everything_is_made_and_a_second_time_replaced(
    grafana: Grafana, password: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store-host", "10.0.0.5", "--store-port", "9123", "--store-password-file", password)
    assert publish(grafana, *store) == 0
    assert "folder Flowrate: created" in capsys.readouterr().out
    made = grafana.stored["datasources"]["flowrate-warehouse"]
    assert made["type"] == "grafana-clickhouse-datasource"
    assert (made["jsonData"]["host"], made["jsonData"]["port"]) == ("10.0.0.5", 9123)
    assert made["secureJsonData"] == {"password": "read-secret"}
    for uid in (LIVE_UID, OPERATIONS_UID):
        sent = grafana.stored["dashboards"][uid]
        assert sent["dashboard"] == dashboards(DashboardsConfig())[uid]
        assert sent["folderUid"] == "flowrate"
    assert publish(grafana, *store) == 0
    assert ("PUT", "/grafana/api/datasources/uid/flowrate-warehouse") in [
        request[:2] for request in grafana.requests
    ]
    assert publish(grafana) == 0
    assert "left as it is" in capsys.readouterr().out


def test_prometheus_is_made_where_its_address_is_given(
    grafana: Grafana, password: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store-host", "h", "--store-password-file", password)
    assert publish(grafana, *store) == 0
    told = capsys.readouterr().out
    assert "data source flowrate-prometheus: missing" in told
    assert "--prometheus-url creates it" in told
    assert publish(grafana, "--prometheus-url", "http://prometheus:9090") == 0
    assert "data source flowrate-prometheus: created" in capsys.readouterr().out
    made = grafana.stored["datasources"]["flowrate-prometheus"]
    assert (made["type"], made["url"]) == ("prometheus", "http://prometheus:9090")
    assert publish(grafana, "--prometheus-url", "http://other:9090") == 0
    assert "data source flowrate-prometheus: updated" in capsys.readouterr().out
    assert grafana.stored["datasources"]["flowrate-prometheus"]["url"] == "http://other:9090"
    assert publish(grafana) == 0
    assert "data source flowrate-prometheus: left as it is" in capsys.readouterr().out


def test_the_password_is_not_printed(
    grafana: Grafana, password: str, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(grafana, "--store-host", "h", "--store-password-file", password)
    output = capsys.readouterr()
    assert "read-secret" not in output.out + output.err


def test_a_missing_datasource_is_said_with_the_remedy(
    grafana: Grafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(grafana) == 1
    assert (
        "no data source with the uid flowrate-warehouse: give --store-host"
        in capsys.readouterr().err
    )
    assert grafana.stored["dashboards"] == {}


def test_a_wrong_token(grafana: Grafana, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish(grafana, token="wrong") == 1
    assert "does not accept the token (401)" in capsys.readouterr().err


def test_the_token_may_come_from_the_environment(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GRAFANA_TOKEN", raising=False)
    assert main(["--url", grafana.url]) == 2
    assert "GRAFANA_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    assert main(["--url", grafana.url]) == 1
    assert grafana.requests


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, b'{"message": "no"}', "forbids this to the token (403)"),
        (500, b'{"message": "database is locked"}', "Server Error 500: database is locked"),
        (502, b"<html>bad gateway</html>", "Server Error 502"),
        (200, b"<html>a login page</html>", "is it a Grafana?"),
        (404, b'{"message": "nothing here"}', "nothing here"),
    ],
)
def test_what_a_grafana_in_trouble_says(
    grafana: Grafana, capsys: pytest.CaptureFixture[str], status: int, body: bytes, words: str
) -> None:
    grafana.answer_with = (status, body)
    assert publish(grafana) == 1
    assert words in capsys.readouterr().err


def test_an_address_where_nobody_listens(
    grafana: Grafana, capsys: pytest.CaptureFixture[str]
) -> None:
    url = grafana.url
    grafana.shutdown()
    grafana.server_close()
    assert main(["--url", url, "--token", "x"]) == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://x", "", "http://"])
def test_what_is_no_address(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", url, "--token", "x"]) == 1
    assert "is not the address of a Grafana" in capsys.readouterr().err
