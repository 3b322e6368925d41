"""The pages as sources: one address, one set of pins, no page left out. The built book is checked where it is built."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import docutils.core
import docutils.nodes
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
ADDRESS = CONFIG["repository"]["url"]
NAME = ADDRESS.removeprefix("https://github.com/")


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_every_badge_and_link_is_to_the_one_address():
    """Any github.com, Colab or Binder link into a repository of this project's name is to the configured one."""
    others = {
        "zalandoresearch/fashion-mnist",
        "bboylyg/NAD",
        "actions/",
        "backdoorbench/",
        "Trusted-AI/adversarial-robustness-toolbox",
    }
    found = 0
    for path in tracked():
        if (
            path.suffix not in {".md", ".ipynb", ".toml", ".yml", ".yaml", ".cff", ".py", ".cfg"}
            or path.parent.name == "tests"
        ):
            continue
        for match in re.finditer(
            r"(?:github\.com/|mybinder\.org/v2/gh/|colab\.research\.google\.com/github/)([\w.-]+/[\w.-]+)",
            path.read_text(),
        ):
            if not any(match[1].startswith(other.rstrip("/")) for other in others):
                found += 1
                assert match[1].removesuffix(".git") == NAME, f"{path.name}: {match[0]}"
    assert found >= 5


def test_badges_open_the_files_they_stand_for():
    readme = (ROOT / "README.md").read_text()
    for path in re.findall(r"colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/main/([\w./-]+)", readme):
        assert (ROOT / path).is_file(), path
    for path in re.findall(r"lab/tree/([\w./-]+)", readme):
        assert (ROOT / path).is_file(), path


def test_pins_stand_in_one_place():
    """environment.yml names no version; pip gets what the Makefile gives it; every declared package is pinned."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in environment if isinstance(entry, dict))
    assert sorted(pip) == ["-c constraints.txt", "-e .[book,run,test]"]
    makefile = (ROOT / "Makefile").read_text()
    assert '-e ".[book,run,test]" -c constraints.txt' in makefile
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    assert {re.split(r"[<>=]", name)[0].lower() for name in declared} <= pinned
    plain = [entry for entry in environment if isinstance(entry, str)]
    assert [entry for entry in plain if "=" in entry] == ["python=3.11"]


def test_binder_gets_the_same_python_and_no_cuda():
    """Binder takes .binder/ and then ignores the file at the top, which would bring it two gigabytes of CUDA."""
    own, top = (yaml.safe_load((ROOT / name).read_text()) for name in (".binder/environment.yml", "environment.yml"))
    assert own["channels"] == top["channels"]
    assert own["dependencies"] == [entry for entry in top["dependencies"] if entry in ("python=3.11", "pip")]
    script = ROOT / ".binder" / "postBuild"
    torch, library = [line for line in script.read_text().splitlines() if "pip install" in line]
    assert "torch torchvision --index-url https://download.pytorch.org/whl/cpu" in torch
    assert library.endswith('-e ".[run]"') and os.access(script, os.X_OK)


def test_every_page_is_in_the_table_of_contents_or_generated():
    toc = (ROOT / "book" / "_toc.yml").read_text()
    files = [p for ending in ("md", "ipynb") for p in (ROOT / "book").rglob(f"*.{ending}")]
    pages = {str(p.relative_to(ROOT).with_suffix("")) for p in files} - {"book/api"}
    pages |= {f"notebooks/{p.stem}" for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert pages <= set(re.findall(r"(?:root|file): (\S+)", toc))


def test_the_readme_is_short_and_its_commands_exist():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 80
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z]+)\b", readme)) <= targets | {"sure"}


def test_no_tracked_file_holds_a_path_of_one_machine():
    for path in tracked():
        if (
            path.suffix in {".py", ".md", ".yml", ".yaml", ".toml", ".ipynb", ".json", ".csv", ""}
            and path.name != "test_book.py"
        ):
            assert not re.search(r"/(home|root|work|Users)/", path.read_text(errors="ignore")), path


def docstrings():
    """Those that the reference page shows; the command's own are for its --help."""
    for path in sorted(set((ROOT / "bdlib").rglob("*.py")) - set((ROOT / "bdlib" / "cli").glob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                yield f"{path.name}:{getattr(node, 'lineno', 1)}", text


def test_the_reference_page_can_show_every_docstring():
    """The book's build stops at a docstring that is not sound reStructuredText, such as one with bare bars."""
    assert errors("Mean of |x - y|.") and not errors("Mean of ``|x - y|``.")
    assert {where: found for where, text in docstrings() if (found := errors(text))} == {}


def errors(text):
    silent = {"report_level": 3, "halt_level": 5, "warning_stream": False}
    tree = docutils.core.publish_doctree(text, settings_overrides=silent)
    said = [*tree.findall(docutils.nodes.system_message), *tree.parse_messages, *tree.transform_messages]
    return [message.astext() for message in said if message["level"] >= 3]


COLAB = f"""import sys

if "google.colab" in sys.modules:
    %pip install -q "bdlib @ git+{ADDRESS}\""""


def test_the_first_cell_installs_this_repository_in_colab_alone(monkeypatch):
    for path in [*(ROOT / "notebooks").glob("*.ipynb"), ROOT / "book" / "start.ipynb"]:
        first = next(c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code")
        assert "".join(first["source"]) == COLAB and "remove-cell" in first["metadata"]["tags"]
    called = []
    code = TransformerManager().transform_cell(COLAB)
    shell = SimpleNamespace(run_line_magic=lambda *words: called.append(words))
    exec(code, {"get_ipython": lambda: shell})
    assert not called
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    exec(code, {"get_ipython": lambda: shell})
    assert called == [("pip", f'install -q "bdlib @ git+{ADDRESS}"')]


@pytest.fixture
def build_book(monkeypatch):
    """The script that builds the book, as a module."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("build_book")


@pytest.fixture
def second_pages(monkeypatch):
    """The script that makes the second pages, as a module."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("second_pages")


def cell(kind, source, **more):
    return {"cell_type": kind, "metadata": {}, "source": source} | more


def test_a_chapter_that_ran_at_cifar_has_a_second_page_below_it(second_pages):
    cells = [
        cell("markdown", ["# NAD: attention\n", "words"]),
        cell("markdown", ["(nad-run)=\n", "## 6. Run\n", "See [all](comparison.ipynb) and [why](../book/metrics.md)."]),
        cell(
            "code",
            'runs = load("nad")',
            outputs=["kept"],
            metadata={"mystnb": {"figure": {"name": "nad-a", "caption": "A"}}},
        ),
        cell("markdown", "Seen.\n\n## 10. Paper versus released code\n"),
        cell("code", "2", outputs=["left out"]),
    ]
    page = json.loads(second_pages.second_page(json.dumps({"cells": cells}).encode(), "nad", ["headline"]))["cells"]
    assert page[0]["source"].startswith("# NAD at CIFAR-10\n") and "zoo" in page[0]["source"]
    assert [c["id"] for c in page] == [f"nad-cifar-{number}" for number in range(4)]
    links = "See [all](../../notebooks/comparison.ipynb) and [why](../../book/metrics.md)."
    assert [c["source"] for c in page[1:]] == [f"## 6. Run\n{links}", 'runs = load("nad")', "Seen."]
    assert page[2]["metadata"] == {"mystnb": {"figure": {"caption": "A"}}}  # a label is the chapter's
    toc = yaml.safe_load(second_pages.with_second_pages((ROOT / "book" / "_toc.yml").read_text(), ["nad"]))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    assert [c for c in chapters if "sections" in c] == [
        {"file": "notebooks/nad", "sections": [{"file": "results/cifar/nad"}]}
    ]


def test_no_label_is_given_by_two_pages(second_pages):
    """Sphinx stops at the second one, at the end of `make book`."""
    pages = [path.read_bytes() for path in [*(ROOT / "notebooks").glob("*.ipynb"), ROOT / "book" / "start.ipynb"]]
    made = second_pages.second_pages(ROOT / "results")
    assert made
    pages += [second_pages.second_page(path.read_bytes(), path.stem, []) for path in made]
    cells = [one for page in pages for one in json.loads(page)["cells"]]
    texts = ["".join(one["source"]) for one in cells if one["cell_type"] == "markdown"]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.md")]
    labels = [label for text in texts for label in re.findall(r"^\(([\w-]+)\)=$", text, re.M)]
    labels += [one["metadata"].get("mystnb", {}).get("figure", {}).get("name") for one in cells]
    given = [label for label in labels if label]
    assert len(given) > 50
    assert sorted({label for label in given if given.count(label) > 1}) == []


def test_no_fence_of_backticks_has_one_in_its_first_line():
    """CommonMark then takes the fence for text, and the page shows the directive instead of its table."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.md")}
    for path in [*(ROOT / "notebooks").glob("*.ipynb"), ROOT / "book" / "start.ipynb"]:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path.name] = "\n".join("".join(one["source"]) for one in cells if one["cell_type"] == "markdown")
    broken = re.compile(r"^ *`{3,}[^`\n]+`(?!.*`{3}).*$", re.M)
    assert broken.search("```{csv-table} Of `a` and `b`\n") and not broken.search("```python\n`a`\n```")
    assert {name: broken.findall(text) for name, text in texts.items() if broken.search(text)} == {}


def test_a_second_page_says_where_runs_are_not_planned(second_pages):
    sources = [
        'runs = studies.load_study("nad", profile, "headline")\ncolumns = {"beta": "b"}',
        'rows = studies.load_study("nad", profile, "beta")\ntables.means(rows)',
        "for name, its in rows.groupby('beta'):\n    points[name] = its\nplots.curves(columns)",
        "tables.means(runs, columns)",
        'rows = studies.load_study("nad", "quick", "beta")\ntables.means(rows)',
    ]
    cells = [cell("code", source, outputs=["a table"]) for source in sources]
    assert second_pages.unplanned_outputs(cells, "nad", ["headline"]) == [1, 2]
    assert second_pages.unplanned_outputs(cells, "nad", ["headline", "beta"]) == []


def test_the_outputs_of_second_pages_link_to_built_pages(second_pages):
    """The words of a page lead to its source, which the build replaces; in an output it does not."""
    made = second_pages.second_pages(ROOT / "results")
    pages = {path.stem: second_pages.second_page(path.read_bytes(), path.stem, []) for path in made}
    outputs = [one["outputs"] for page in pages.values() for one in json.loads(page)["cells"] if "outputs" in one]
    links = re.findall(r"\]\(([^)]+)\)|href=.{1,2}?([^ >\"'\\\\]+)", json.dumps(outputs))
    targets = {target for link in links for target in link if target and "://" not in target}
    assert {f"../../notebooks/{name}.html" for name in pages} <= targets
    assert [target for target in targets if target.endswith((".ipynb", ".md"))] == []


def test_parameters_imports_and_checks_are_folded_and_what_follows_is_not(build_book):
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(build_book.folded(path.read_bytes()))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        hidden = ["hide-input" in cell["metadata"]["tags"] for cell in code]
        named = [cell["metadata"]["tags"] for cell in code if "parameters" in cell["metadata"]["tags"]]
        assert 3 <= sum(hidden) <= 5 and all("hide-input" in tags for tags in named), path.name
        assert not any(hidden[10:]), path.name


@pytest.fixture
def glossary_links(monkeypatch):
    """The script that links the words of the glossary, as a module."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("glossary_links")


def test_the_first_use_of_a_word_leads_to_the_glossary_and_nothing_else_changes(glossary_links):
    text = "\n".join([
        "# The trigger", "| trigger | x |", "```python", "trigger = 1", "```", "$$", "trigger", "$$",
        "See `trigger`, [the trigger](a.md), $trigger$ and {ref}`trigger <x>`; untriggered.",
        "Triggers and a trigger. The ASR, not the asr.",
    ])  # fmt: skip
    linked = glossary_links.link_text(text, ["trigger", "ASR"])
    first = text.rpartition("\n")[0]
    assert linked.rpartition("\n")[0] == first
    assert linked.rpartition("\n")[2] == "{term}`Triggers <trigger>` and a trigger. The {term}`ASR <ASR>`, not the asr."


def test_every_word_of_the_glossary_is_used_by_a_page(glossary_links):
    paths = [*(ROOT / "book").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    sources = {path.relative_to(ROOT): path.read_bytes() for path in paths}
    staged = glossary_links.with_glossary(sources)
    assert staged[Path("book/glossary.md")] == sources[Path("book/glossary.md")]
    used = b"".join(staged.values()).decode()
    words = glossary_links.terms(sources[Path("book/glossary.md")].decode())
    assert len(words) > 25 and [word for word in words if f" <{word}>`" not in used] == []
    entries = re.findall(r"^\n?(\w[^\n]*)\n(?:\w[^\n]*\n)?  ", (ROOT / "book" / "glossary.md").read_text(), re.M)
    assert len(entries) > 25 and entries == sorted(entries, key=str.lower)
    nad = json.loads(staged[Path("notebooks/nad.ipynb")])
    assert sum("".join(cell["source"]).count("{term}") for cell in nad["cells"]) > 10


def test_the_reference_shows_the_public_face_first_and_then_every_room(build_book):
    pages = build_book.api_pages()
    page = "\n".join(pages.values())
    assert "automodule::" not in pages.pop(build_book.API)
    toc = build_book.with_api_pages((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    assert re.findall(r"file: (book/api/.*)", toc) == [path.with_suffix("").as_posix() for path in pages]
    shown = re.findall(r"^\.\. automodule:: (\S+)", page, re.M)
    faces = [page.index(f"{name}") for name in ("bdlib.training.loop.train\n", "bdlib.attacks.poisoning.poison\n")]
    assert max(faces) < page.index("automodule::") and "`badnets`" in page
    assert shown.index("bdlib.data.images") < shown.index("bdlib.defenses.nad") < shown.index("bdlib.report.tables")
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "bdlib").rglob("*.py")}
    public = {name.removesuffix(".__init__") for name in modules if "._" not in name.removesuffix(".__init__")}
    public = {name for name in public if not name.startswith("bdlib.cli")} - {"bdlib"}
    assert public == set(shown) and len(shown) == len(set(shown))


def test_a_built_page_runs_no_live_code_and_names_what_a_reader_opens(build_book):
    live = '<script>const THEBE_JS_URL = "x"</script>\n<script async src="../_static/sphinx-thebe.js"></script>'
    kept = '<script src="../_static/board/board.js"></script><dl class="py"><dt>a</dt><dd>b</dd></dl>'
    long = '<dl>\n<dd><em class="sig-param">a</em>,</dd>\n</dl>'
    page = build_book.finished(f'{live}{kept}<summary><span class="toctree-toggle"></span></summary>{long}')
    assert "THEBE" not in page and "thebe" not in page and page.startswith(kept)
    assert build_book.finished('<div role="list" class="citation-list">') == '<div class="citation-list">'
    assert '<summary aria-label="' in page and '<dl role="none">\n<dd role="none"><em class="sig-param">' in page


def test_a_built_page_loads_what_it_uses_alone(build_book):
    """Without it a chapter weighs 4.7 MB, of which 3 are not read."""
    names = ("scripts/fontawesome", "searchtools", "language_data", "searchindex", "doctools")
    scripts = "".join(f'<script src="../_static/{name}.js?v=1"></script>' for name in names)
    options = '<script>window.MathJax = {"options": {}}</script><script src="../_static/mathjax/tex-chtml.js"></script>'
    assert re.findall(r"([\w-]+)\.js", build_book.finished(scripts + options)) == ["doctools"]
    page = build_book.finished(f'{scripts}{options}<span class="math">x</span>')
    assert re.findall(r"([\w-]+)\.js", page) == ["doctools", "startup"]
    assert json.loads(re.search("MathJax = (.*?)<", page)[1]).keys() == {"loader", "options"}
    page = build_book.finished(f'{scripts}<div id="search-results"></div>')
    assert re.findall(r"(\w+)\.js", page) == ["searchtools", "language_data", "searchindex", "doctools"]


def test_a_sign_of_per_cent_stays_with_its_number(build_book):
    page = build_book.finished("<p>2.0 %, 5 %</p><pre>7 % 2</pre><script>8 % 3</script><p>1 %</p>")
    assert page == "<p>2.0\u00a0%, 5\u00a0%</p><pre>7 % 2</pre><script>8 % 3</script><p>1\u00a0%</p>"


def test_a_broken_link_and_an_image_without_text_are_found(build_book, tmp_path):
    (tmp_path / "a.html").write_text('<p id="here"><a href="#here"><a href="b.html#there"><img src="c.png">')
    (tmp_path / "b.html").write_text('<a href="a.html#here"><a href="missing.html"><a href="https://elsewhere.org">')
    (tmp_path / "c.png").write_bytes(b"")
    assert sorted(build_book.faults(tmp_path)) == [
        "a.html: b.html#there has no such anchor",
        "a.html: c.png has no alternative text",
        "b.html: missing.html does not exist",
    ]


def test_the_same_versions_of_python_are_declared_and_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [line.rpartition(" ")[2] for line in project["classifiers"] if "Python :: 3." in line]
    jobs = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == declared
    assert project["requires-python"] == f">={declared[0]}"
