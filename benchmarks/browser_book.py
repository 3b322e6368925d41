"""Every page of the built book in headless Chromium, on a desktop in light and on a phone in dark: `make browser`.

A page may weigh 3 MB, must show its largest part within 2.5 s from a local server, has no serious violation that
axe-core finds, and nothing wider than the phone. `make book` itself checks links and the text of pictures.
"""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_playground import PHONE, browser  # noqa: F401  (a fixture)

from bdlib.folders import ROOT

BOOK = ROOT / "build" / "book"
LEFT_OUT = {"genindex.html", "search.html", "py-modindex.html"}  # nor is the first page, which leads to another
PAGES = sorted(
    str(path.relative_to(BOOK)) for path in BOOK.rglob("*.html")
    if path.name not in LEFT_OUT and path != BOOK / "index.html" and not path.relative_to(BOOK).parts[0].startswith("_")
)  # fmt: skip
SCREENS = {
    "desktop, light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone, dark": {"viewport": PHONE, "color_scheme": "dark", "is_mobile": True, "has_touch": True},
}
MOST_BYTES = 3_000_000
MOST_MILLISECONDS = 2500.0
LARGEST_PAINT = """() => new Promise((done) => {
    new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))
        .observe({ type: "largest-contentful-paint", buffered: true });
    setTimeout(() => done(-1), 3000);
})"""
WIDER = """() => document.documentElement.scrollWidth - document.documentElement.clientWidth"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def address():
    """The book from a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(BOOK)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_there_is_a_book():
    assert len(PAGES) > 20, "run `make book` first"


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_quick_and_open_to_all(browser, address, name, screen):  # noqa: F811
    context = browser.new_context(**SCREENS[screen])
    page, weight, faults = context.new_page(), [], []
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda event: weight.append(event["encodedDataLength"]))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address + name, wait_until="load")
    paint = page.evaluate(LARGEST_PAINT)
    serious = [
        f"{found['id']}: {found['nodes'][0]['html'][:120]}"
        for found in Axe().run(page).response["violations"] if found["impact"] in ("serious", "critical")
    ]  # fmt: skip
    assert not faults
    assert page.evaluate(WIDER) <= 0
    context.close()
    assert not serious, "\n".join(serious)
    assert sum(weight) <= MOST_BYTES
    assert 0 <= paint <= MOST_MILLISECONDS
