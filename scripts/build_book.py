"""Build the HTML book from the pages in book/ and the executed notebooks in results/<profile>/.

    python scripts/build_book.py --profile quick

The sources are laid out in build/source as in the repository, with each executed notebook in its source's place, so
that every edit and launch button leads to the file that a reader should open. A chapter that was also run at CIFAR-10
has a second page, from results/cifar/. The book is written to build/book.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import bdlib
from bdlib.files import read_text, write_whole
from bdlib.report.book_files import generated_files

ROOT = Path(__file__).parents[1]
STAGE, TARGET = ROOT / "build" / "source", ROOT / "build" / "book"
ROOMS = """types ranges words checks files folders runtime data models training evaluation attacks defenses
    fairness mechanisms experiments claims report submissions""".split()  # in the order of imports


def stage(profile: str) -> None:
    """Lay out the sources; files whose content has not changed keep their time, and Sphinx then skips them."""
    pages = [ROOT / "_config.yml", *(path for path in (ROOT / "book").rglob("*") if path.is_file())]
    sources = {path.relative_to(ROOT): path.read_bytes() for path in pages}
    for path in sorted((ROOT / "results" / profile).glob("*.ipynb")):
        sources[Path("notebooks") / path.name] = path.read_bytes()
    second = sorted((ROOT / "results" / "cifar").glob("*.ipynb")) if profile != "cifar" else []
    sources |= {Path("notebooks") / f"{path.stem}_cifar.ipynb": second_page(path.read_bytes()) for path in second}
    toc = read_text(ROOT / "book" / "_toc.yml")
    sources[Path("book/_toc.yml")] = with_second_pages(toc, [path.stem for path in second]).encode()
    sources[Path("book/api.md")] = api_page().encode()
    generated = generated_files(profile)
    sources |= {Path("book/_generated") / name: content for name, content in generated.items()}
    write_whole(ROOT / "results" / "overview.svg", generated["overview.svg"])  # the README's picture
    for path in STAGE.rglob("*"):
        if path.is_file() and "_build" not in path.parts and path.relative_to(STAGE) not in sources:
            path.unlink()
    for path, content in sources.items():
        target = STAGE / path
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def second_page(content: bytes) -> bytes:
    """A chapter that was run at CIFAR-10, as a page below the chapter: with its own title, without second labels."""
    notebook = json.loads(content)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            lines = "".join(cell["source"]).splitlines()
            cell["source"] = "\n".join(line for line in lines if not re.fullmatch(r"\([\w-]+\)=", line))
    title, *rest = notebook["cells"][0]["source"].splitlines()
    zoo = "[the zoo](../book/zoo.md)"
    note = f"This is the chapter's notebook as it ran at CIFAR-10 (profile `cifar`), on a victim of {zoo}."
    notebook["cells"][0]["source"] = "\n".join([f"{title}: at CIFAR-10", "", note, *rest])
    return json.dumps(notebook).encode()


def with_second_pages(toc: str, papers: Sequence[str]) -> str:
    """The table of contents with the pages of `second_page` below their chapters."""
    for paper in papers:
        line = f"      - file: notebooks/{paper}\n"
        toc = toc.replace(line, f"{line}        sections:\n          - file: notebooks/{paper}_cifar\n")
    return toc


def api_page() -> str:
    """The reference: the names that `import bdlib` gives, then each room's modules with their public members."""
    lines = ["# API reference", "", "Made from the docstrings.", ""]
    lines += ["## What `import bdlib` gives", ""]
    for name in bdlib.__all__:
        lines += public_name(name, getattr(bdlib, name))
    for room in ROOMS:
        lines += [f"## bdlib.{room}", ""]
        for name in modules(room):
            lines += ([f"### {name}", ""] if name != f"bdlib.{room}" else []) + automodule(name)
    return "\n".join(lines)


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
