"""Build the HTML book from the pages in book/ and the executed notebooks in results/<profile>/.

    python scripts/build_book.py --profile quick

The sources are laid out in build/source as in the repository, with each executed notebook in its source's place, so
that every edit and launch button leads to the file that a reader should open. A chapter that was also run at CIFAR-10
has a second page, made from results/cifar/ (scripts/second_pages.py). The book is written to build/book.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from finish_pages import finished
from glossary_links import with_glossary
from second_pages import second_page, second_pages, with_second_pages
from start_page import start_page

import bdlib
from bdlib.experiments import notebooks
from bdlib.files import read_text, write_whole
from bdlib.report.book_files import generated_files
from bdlib.report.playground import NAMES
from bdlib.report.playground.export import write_data

ROOT = Path(__file__).parents[1]
FOLDED = {"parameters", "injected-parameters"}  # tags that papermill reads and writes
API = Path("book/api.md")
START = Path("book/start.ipynb")  # its text points at its parameters, so they are not folded
STAGE, TARGET = ROOT / "build" / "source", ROOT / "build" / "book"
ROOMS = """types ranges words checks files folders runtime data models training evaluation attacks defenses
    fairness mechanisms experiments claims report submissions""".split()  # in the order of imports


def stage(profile: str) -> None:
    """Lay out the sources; files whose content has not changed keep their time, and Sphinx then skips them."""
    pages = [ROOT / "_config.yml", *(path for path in (ROOT / "book").rglob("*") if path.is_file())]
    sources = {path.relative_to(ROOT): path.read_bytes() for path in pages}
    for path in sorted((ROOT / "results" / profile).glob("*.ipynb")):
        sources[Path("notebooks") / path.name] = path.read_bytes()
    second = second_pages(ROOT / "results") if profile != "cifar" else []
    for path in second:
        planned = notebooks.studies(path.stem, "cifar")
        sources[path.relative_to(ROOT)] = second_page(path.read_bytes(), path.stem, planned)
    toc = read_text(ROOT / "book" / "_toc.yml")
    sources[Path("book/_toc.yml")] = with_api_pages(with_second_pages(toc, [path.stem for path in second])).encode()
    sources |= {path: page.encode() for path, page in api_pages().items()}
    sources[START] = start_page()
    generated = generated_files(profile)
    sources |= {Path("book/_generated") / name: content for name, content in generated.items()}
    write_whole(ROOT / "results" / "overview.svg", generated["overview.svg"])  # the README's picture
    sources = {
        path: folded(text) if path.suffix == ".ipynb" and path != START else text for path, text in sources.items()
    }
    sources = with_glossary(sources)
    sources |= {Path("book/_static/playground") / path.name: path.read_bytes() for path in playground_data()}
    for path in STAGE.rglob("*"):
        if path.is_file() and "_build" not in path.parts and path.relative_to(STAGE) not in sources:
            path.unlink()
    for path, content in sources.items():
        target = STAGE / path
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def folded(content: bytes) -> bytes:
    """A notebook whose parameters, imports and checks are folded, so that a reader meets the idea first."""
    notebook = json.loads(content)
    in_setup = False
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^## .*$", "".join(cell["source"]), re.M)
            in_setup = "Set-up" in headings[-1] if headings else in_setup
            continue
        tags = cell["metadata"].setdefault("tags", [])
        if in_setup or FOLDED & {*tags} or "import check\n" in "".join(cell["source"]):
            tags.append("hide-input")
    return json.dumps(notebook).encode()


def playground_data() -> list[Path]:
    """The scripts with the networks of the playgrounds; they are made here if Snakemake has not made them."""
    folder = ROOT / "build" / "playground"
    paths = [folder / f"{name}.js" for name in NAMES]
    return paths if all(path.is_file() for path in paths) else write_data(folder)


def api_pages() -> dict[Path, str]:
    """The reference: a page with the names that `import bdlib` gives, then a page for each room's public members."""
    lines = ["# API reference", "", "Made from the docstrings.", ""]
    lines += ["## What `import bdlib` gives", ""]
    for name in bdlib.__all__:
        lines += public_name(name, getattr(bdlib, name))
    lines += ["## The rooms", "", "In the order of their imports: a room imports only from those above it.", ""]
    lines += [f"- [bdlib.{room}](api/{room}.md)" for room in ROOMS]
    pages = {API: lines}
    for room in ROOMS:
        page = pages[API.with_suffix("") / f"{room}.md"] = [f"# bdlib.{room}", ""]
        for name in modules(room):
            page += ([f"## {name}", ""] if name != f"bdlib.{room}" else []) + automodule(name)
    return {path: "\n".join(page) for path, page in pages.items()}


def with_api_pages(toc: str) -> str:
    """The table of contents with a page of each room below the reference."""
    line = "      - file: book/api\n"
    return toc.replace(line, line + "        sections:\n" + "".join(f"          - file: book/api/{r}\n" for r in ROOMS))


def public_name(name: str, value: object) -> list[str]:
    """A name of the public face: a function or class by its docstring, a registry by its keys."""
    place = f"bdlib.{bdlib.ROOMS[name]}.{name}"
    if not callable(value):
        return [f"**`{name}`**, from `{place}`: {', '.join(f'`{key}`' for key in value)}.", ""]  # type: ignore[attr-defined]
    kind = "autoclass" if isinstance(value, type) else "autofunction"
    return directive(kind, place, ":no-index:")


def modules(room: str) -> Iterator[str]:
    """The public modules of a room; a package comes before what is in it."""
    for path in sorted([*(ROOT / "bdlib" / room).rglob("*.py"), *(ROOT / "bdlib").glob(f"{room}.py")]):
        if not (path.stem.startswith("_") and path.stem != "__init__"):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def automodule(name: str) -> list[str]:
    """The directive that shows a module's docstring and members. Fields of tuples are in the signature."""
    routing = "set_fit_request, set_predict_request, set_score_request"  # scikit-learn's, linked to its own pages
    hidden = f":exclude-members: images, labels, ids, model_config, {routing}"
    return directive("automodule", name, ":members:", ":ignore-module-all:", hidden)


def directive(kind: str, name: str, *options: str) -> list[str]:
    """The lines of a Sphinx directive on a Markdown page."""
    return ["```{eval-rst}", f".. {kind}:: {name}", *(f"   {option}" for option in options), "```", ""]


def build() -> None:
    """Run Jupyter Book, a warning counting as an error, and copy what it made to build/book."""
    command = ["jupyter-book", "build", ".", "--toc", "book/_toc.yml", "-W", "--keep-going", "-q"]
    done = subprocess.run([str(Path(sys.executable).with_name(command[0])), *command[1:]], cwd=STAGE)
    if done.returncode:
        sys.exit(f"jupyter-book failed with status {done.returncode}")
    shutil.copytree(STAGE / "_build" / "html", TARGET, dirs_exist_ok=True)
    for path in TARGET.rglob("*.html"):
        path.write_text(finished(path.read_text(encoding="utf-8")), encoding="utf-8")


class Page(HTMLParser):
    """The anchors, links and images of a built page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.anchors |= {values[name] or "" for name in ("id", "name") if name in values}
        self.links += [values[name] or "" for name in ("href", "src") if name in values]
        if tag == "img":
            self.images.append(values)


def faults(site: Path) -> list[str]:
    """Every link inside `site` to something that does not exist, every image without alternative text; a line each."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]  # not the theme's own templates
    pages = {path.resolve(): Page(path) for path in paths}
    lines = []
    for path, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc or link.startswith("//"):
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if not target.exists():
                lines.append(f"{path.name}: {link} does not exist")
            elif address.fragment and target in pages and unquote(address.fragment) not in pages[target].anchors:
                lines.append(f"{path.name}: {link} has no such anchor")
        unnamed = [image.get("src") for image in page.images if not image.get("alt")]
        lines += [f"{path.name}: {source} has no alternative text" for source in unnamed]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="quick", choices=("smoke", "quick", "cifar", "paper"))
    profile = parser.parse_args().profile
    shutil.rmtree(TARGET, ignore_errors=True)
    stage(profile)
    build()
    if lines := faults(TARGET):
        sys.exit("\n".join([f"{len(lines)} faults in the built book:", *lines]))
    print(f"\nThe book is in {TARGET.relative_to(ROOT)}. Open it: {(TARGET / 'index.html').as_uri()}")


if __name__ == "__main__":
    main()
