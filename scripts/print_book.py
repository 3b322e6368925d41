"""Print the built book, or some of its pages, as one PDF with bookmarks: `make pdf`.

    python scripts/print_book.py [notebooks/nad.html ...] [--out build/book.pdf]

Chromium prints what a reader sees, in the order of the table of contents, with every solution opened. It is looked for
on the PATH, then where Playwright keeps its own.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfWriter

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "build" / "book"
CONTENTS = ".bd-sidebar-primary nav a.reference.internal"
ADDRESSES = "all => all.map((one) => one.href.split('#')[0])"
OPEN = "all => all.forEach((one) => { one.open = true; })"  # solutions, not the folded code
MARGIN = {"top": "15mm", "bottom": "15mm", "left": "12mm", "right": "12mm"}


def pages_of(browser: Browser) -> list[Path]:
    """The pages in the order of the table of contents, the landing page first."""
    page = browser.new_page()
    page.goto((BOOK / "book" / "index.html").as_uri())
    inside = [address for address in page.eval_on_selector_all(CONTENTS, ADDRESSES) if address.startswith("file:")]
    page.close()
    found = [Path(address.removeprefix("file://")) for address in inside]
    return list(dict.fromkeys([BOOK / "book" / "index.html", *found]))


def printed(browser: Browser, path: Path) -> tuple[str, bytes]:
    """The title of a page and its PDF on A4, in light colors."""
    page = browser.new_page(color_scheme="light")
    page.goto(path.as_uri(), wait_until="load")
    page.wait_for_function("!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)")
    page.eval_on_selector_all("main details:not(.hide)", OPEN)
    title = page.locator("main h1").first.inner_text().rstrip("#\n ")
    made = page.pdf(format="A4", margin=MARGIN, print_background=True)
    page.close()
    return title, made


def print_book(pages: list[Path], out: Path) -> int:
    """Write the PDF of these pages (all where the list is empty) to `out`. Returns its number of sheets."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    writer = PdfWriter()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for path in pages or pages_of(browser):
            title, made = printed(browser, path)
            writer.append(io.BytesIO(made), outline_item=title)
            print(f"{path.relative_to(BOOK)}: {title}", flush=True)
        browser.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    writer.write(out)
    return len(writer.pages)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", help="pages below build/book, such as notebooks/nad.html; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "book.pdf", help="default: build/book.pdf")
    options = parser.parse_args()
    pages = [BOOK / name for name in options.pages]
    if missing := [str(path) for path in [BOOK / "book" / "index.html", *pages] if not path.is_file()]:
        sys.exit(f"pages: {', '.join(missing)} not found; `make book` builds them")
    print(f"{print_book(pages, options.out)} sheets in {options.out}")


if __name__ == "__main__":
    main()
