"""The playgrounds in headless Chromium, opened as a file: `make browser`. Continuous integration has no browser.

It compares the page's answers with torch's on all 200 images, times them, and uses the page as a reader would: by
mouse, by keyboard, on a phone, without a worker. Chromium is looked for on the PATH, then where Playwright keeps its
own.
"""

import shutil
import statistics
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from bdlib.folders import ROOT
from bdlib.report import widget
from bdlib.report.playground import NAMES

FOLDERS = (ROOT / "book" / "_static" / "playground", ROOT / "build" / "playground")
HEAD = "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><title>playgrounds</title>"
PHONE = {"width": 390, "height": 844}
MOST_SECONDS = 0.05  # for one image, in the median


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """A page with all playgrounds, beside the scripts, as the book has them."""
    folder = tmp_path_factory.mktemp("site")
    for path in [path for place in FOLDERS for path in place.iterdir()]:
        shutil.copy(path, folder / path.name)
    assert all((folder / f"{name}.js").is_file() for name in NAMES)
    parts = "".join(f"<h2>{kind}</h2><div data-playground={kind}>without script</div>" for kind in widget.NEEDS)
    (folder / "index.html").write_text(f"{HEAD}{parts}<script defer src=playground.js></script>", encoding="utf-8")
    return folder / "index.html"


@pytest.fixture(scope="session")
def browser():
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser):
    made = browser.new_page()
    made.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    yield made
    made.close()
    assert not faults


def opened(page: Page, site: Path, kind: str):
    """The playground of a kind, mounted."""
    page.goto(site.as_uri())
    page.locator(f"[data-playground={kind}]").scroll_into_view_if_needed()
    page.wait_for_selector(f"[data-mounted={kind}]")
    return page.locator(f"[data-playground={kind}]")


ANSWERS = """async (key) => {
  const { Networks, decodeImages } = bdlibPlayground, { images, ...data } = bdlibPlaygroundData;
  const networks = new Networks(), { top, left, size } = images.square, found = { clean: [], triggered: [], ms: [] };
  await networks.load(key, data[key]);
  for (const pixels of decodeImages(images.pixels, images.side)) {
    const marked = pixels.map((value, i) => {
      const y = Math.floor(i / images.side) - top, x = (i % images.side) - left;
      return y >= 0 && y < size && x >= 0 && x < size ? 1 : value;
    });
    for (const [name, image] of [["clean", pixels], ["triggered", marked]]) {
      const start = performance.now(), [logits] = await networks.logits(key, [image]);
      found.ms.push(performance.now() - start);
      found[name].push(logits.indexOf(Math.max(...logits)));
    }
  }
  return { ...found, wanted: [data[key].clean, data[key].triggered], worker: Boolean(networks.worker) };
}"""


@pytest.mark.parametrize("key", ["victim", "repaired", "twin"])
def test_the_page_answers_as_torch_does_on_200_images(page, site, key):
    opened(page, site, "trigger")
    found = page.evaluate(ANSWERS, key)
    assert found["worker"] and len(found["clean"]) == 200
    assert [found["clean"], found["triggered"]] == found["wanted"]
    seconds = statistics.median(found["ms"]) / 1000
    print(f"{key}: 400 of 400 answers as torch's, {1000 * seconds:.1f} ms an image in the median")
    assert seconds <= MOST_SECONDS


def test_without_a_worker_the_page_computes_itself(page, site):
    page.add_init_script("delete globalThis.Worker")
    part = opened(page, site, "trigger")
    expect(part.locator(".pg-answer").first).to_contain_text("T-shirt")


def test_the_keyboard_moves_the_square_and_the_result_is_said(page, site):
    part = opened(page, site, "trigger")
    said = part.locator("[aria-live=polite]")
    expect(said).to_contain_text("victim: T-shirt")
    part.locator("canvas.pg-canvas").focus()
    for _ in range(6):
        page.keyboard.press("ArrowUp")
    expect(said).not_to_contain_text("victim: T-shirt")
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.type || document.activeElement.tagName"))
    assert order[:4] == ["radio", "range", "button", "radio"]
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none" or order[4] == "BODY"


def test_dragging_moves_the_square_and_painting_is_a_trigger_too(page, site):
    part = opened(page, site, "trigger")
    canvas, victim = part.locator("canvas.pg-canvas"), part.locator(".pg-answer").first
    expect(victim).to_contain_text("T-shirt")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 9)
    page.mouse.up()
    expect(victim).not_to_contain_text("T-shirt")
    part.get_by_role("radio", name="paint").check()
    part.get_by_role("button").click()
    canvas.focus()
    for _ in range(3):  # the attacker's square once more, painted by the keyboard from its upper left corner
        for key in (" ", "ArrowRight", " ", "ArrowRight", " ", "ArrowLeft", "ArrowLeft", "ArrowDown"):
            page.keyboard.press(key)
    expect(victim).to_contain_text("T-shirt")
    expect(part.locator(".pg-count").first).to_contain_text("45 of 45")


def test_pruning_by_slider_takes_the_backdoor_before_the_accuracy(page, site):
    part = opened(page, site, "pruning")
    found = part.locator(".pg-found")
    expect(found).to_contain_text("0 of 640 filters pruned")
    part.locator("input[type=range]").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    expect(found).to_contain_text("8 of 640 filters pruned")
    acc, asr = (int(words.split(" %")[0]) for words in found.inner_text().split("ACC ")[1].split("ASR "))
    assert acc > 75 and asr < 20
    assert part.locator(".pg-off").count() == 8 + 1  # and the key of the legend


def test_the_isolation_follows_epoch_and_share(page, site):
    part = opened(page, site, "isolation")
    found = part.locator(".pg-found")
    expect(found).to_contain_text("After epoch 1, 0 of the 120")
    part.locator("input[type=range]").first.focus()
    page.keyboard.press("ArrowRight")
    expect(found).to_contain_text("After epoch 2,")
    part.get_by_label("Blended").check()
    expect(part.locator(".pg-gallery canvas")).to_have_count(12)


@pytest.mark.parametrize("kind", widget.NEEDS)
def test_on_a_phone_nothing_is_wider_than_the_screen(page, site, kind):
    page.set_viewport_size(PHONE)
    part = opened(page, site, kind)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert part.bounding_box()["width"] <= PHONE["width"]


def test_without_javascript_the_text_stays(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.as_uri())
    expect(page.locator("[data-playground=trigger]")).to_have_text("without script")
    context.close()


WIDGET = """async ([source, data]) => {
  const { default: made } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  made.render({ model: { get: () => data }, el: here });
}"""


def test_the_widgets_module_mounts_the_same(page):
    page.set_content(f"{HEAD}<div id=here></div>")
    page.evaluate(WIDGET, [widget.module(), {"kind": "isolation", **widget.data_of("isolation")}])
    expect(page.locator("#here .pg-found")).to_contain_text("After epoch 1")
    assert widget.playground("isolation").data["kind"] == "isolation"
