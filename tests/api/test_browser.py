"""The pages in Chromium at phone and desktop width: quiet console, no overflow, no outside."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from api.web.session import login_path
from tests.api import sample, sample_usage
from tests.peers_available import require_peer

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}

PATHS = (
    "/",
    "/subscribers",
    "/subscribers/sub_0000a",
    "/subscribers/sub_0001a",
    "/subscribers/sub_0001a/tv",
    "/subscribers/sub_0003a/tv",
    "/invoices",
    "/invoices/inv_acc_0001_2026-10",
    "/invoices/inv_acc_0001_2026-10/lines/2",
    "/invoices/inv_acc_0001_2026-10/lines/2?level=session&on=2026-10-03",
    "/overdue",
    "/overdue/acc_0001",
    "/reports?name=mrr&first=2026-09-01&last=2026-11-30",
    "/reports?name=aging&first=2026-09-01&last=2026-11-30",
    "/quotes",
    "/quotes?plan=dhanmondi-home-100&day=2026-11-01&down=120&hours=10",
    "/alerts",
    "/commands",
    "/status",
    "/v1/docs",
    "/subscribers?q=nobody",
)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, sample.World]]:
    """Serve the sample on a free loopback port."""
    require_peer("chromium")
    path = tmp_path_factory.mktemp("browser") / "flowrate.sqlite"
    begun = time.monotonic()
    world = sample.open_world(
        f"sqlite:///{path}",
        now_ms=lambda: sample.NOW + int((time.monotonic() - begun) * 1000),
        live_sample_seconds=0.5,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(sample.application(world), log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", world
    server.should_exit = True
    thread.join(10)
    listener.close()
    world.engine.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = require_peer("chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield opened
        opened.close()


class Watched:
    """A page that notes what it complains about and whom it asks."""

    def __init__(self, browser: Any, root: str, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._request(root, request.url))

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, root: str, url: str) -> None:
        if not url.startswith((root, "data:", "blob:")):
            self.outside.append(url)


@pytest.fixture
def watch(site: tuple[str, sample.World], browser: Any) -> Iterator[Any]:
    opened: list[Watched] = []

    def open_page(**context: Any) -> Watched:
        root, world = site
        watched = Watched(browser, root, **context)
        opened.append(watched)
        secret = world.services.secret
        watched.page.goto(root + login_path(secret, "operator", sample.NOW + sample_usage.HOUR))
        return watched

    yield open_page
    for watched in opened:
        watched.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_every_page_is_quiet_and_fits(
    site: tuple[str, sample.World], watch: Any, viewport: dict[str, int], scheme: str
) -> None:
    root, _ = site
    watched = watch(viewport=viewport, color_scheme=scheme)
    for path in PATHS:
        watched.page.goto(root + path, wait_until="load")
        if "data-chart" in watched.page.content():
            watched.page.wait_for_selector("[data-plot] canvas")
        overflow = watched.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow == 0, f"{path} is {overflow} px too wide"
        assert watched.complaints == [], path
        assert watched.outside == [], path


def test_the_overview_moves(site: tuple[str, sample.World], watch: Any) -> None:
    watched = watch(viewport=DESKTOP)
    page = watched.page
    page.wait_for_selector("[data-plot] canvas")
    first = page.inner_text(".legend-time")
    page.wait_for_function(
        "before => document.querySelector('.legend-time').textContent !== before", arg=first
    )
    assert "restarted" in page.inner_text("#panel-processes")
    page.click('[data-mode="day"]')
    page.wait_for_function("() => document.querySelectorAll('.legend-item').length === 5")
    page.click(".chart-table summary")
    page.wait_for_selector(".chart-table td")
    assert watched.complaints == []


def test_new_alerts_appear_by_themselves(site: tuple[str, sample.World], watch: Any) -> None:
    from sqlalchemy import insert

    from billing.adapters import tables
    from billing.adapters.databases import writing

    _, world = site
    page = watch(viewport=PHONE).page
    page.wait_for_selector("#panel-alerts")
    row = {
        "alert_id": "fresh",
        "rating_key": "sub_0043a",
        "period_start_at": sample_usage.PERIOD_START,
        "meter_id": "data",
        "percent": 0,
        "quantity": 0,
        "threshold": 0,
        "raised_at": world.services.now_ms(),
    }
    with writing(world.engine) as connection:
        connection.execute(insert(tables.alert).values(row))
    page.wait_for_selector("#panel-alerts >> text=Balance used up", timeout=10_000)


def test_a_throttle_by_hand(site: tuple[str, sample.World], watch: Any) -> None:
    root, _ = site
    watched = watch(viewport=PHONE)
    page = watched.page
    page.goto(f"{root}/subscribers/sub_0005a")
    page.click("button:has-text('Throttle')")
    page.wait_for_selector(".flash")
    assert "Throttle requested" in page.inner_text(".flash")
    page.on("dialog", lambda dialog: dialog.dismiss())
    before = page.url
    page.click("button:has-text('Disconnect')")
    assert page.url == before, "a dismissed question asks for nothing"
    assert watched.complaints == []


def test_the_theme_is_kept(site: tuple[str, sample.World], watch: Any) -> None:
    root, _ = site
    page = watch(viewport=DESKTOP, color_scheme="light").page
    page.click("[data-theme-toggle]")
    page.goto(f"{root}/alerts")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_everything_is_reached_by_keyboard(site: tuple[str, sample.World], watch: Any) -> None:
    page = watch(viewport=DESKTOP).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    names = page.evaluate(
        """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select')]
            .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim()
                || (e.id && document.querySelector(`label[for="${e.id}"]`))))
            .map((e) => e.outerHTML)"""
    )
    assert names == []


CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const f = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll('main *, .side *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.getClientRects().length || element.closest('.sr, .skip, option')) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${element.className} ${element.textContent}`);
  }
  return [...new Set(bad)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(site: tuple[str, sample.World], watch: Any, scheme: str) -> None:
    root, _ = site
    page = watch(viewport=DESKTOP, color_scheme=scheme).page
    for path in (
        "/",
        "/subscribers/sub_0001a?done=throttle",
        "/invoices",
        "/commands",
        "/status",
        "/subscribers/sub_0001a/tv",
    ):
        page.goto(root + path)
        assert page.evaluate(CONTRAST) == [], path
