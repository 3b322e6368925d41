"""Build the HTML book from the pages in book/ and the executed notebooks in results/<profile>/.

    python scripts/build_book.py --profile quick

The sources are laid out in build/source as the repository has them, executed notebooks standing where their sources
do, so that every edit and launch button leads to the file that a reader should open. The book lands in build/book.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd

from bdlib.claims import verdicts as claims
from bdlib.experiments import manifest, notebooks, studies
from bdlib.report import comparison, figures, plots, tables

ROOT = Path(__file__).parents[1]
STAGE, TARGET = ROOT / "build" / "source", ROOT / "build" / "book"


def stage(profile: str) -> None:
    """Lay out the sources; files whose content has not changed keep their time, and Sphinx then skips them."""
    wanted = {Path("_config.yml"): (ROOT / "_config.yml").read_bytes()}
    pages = [path for path in (ROOT / "book").rglob("*") if path.is_file()]
    wanted |= {path.relative_to(ROOT): path.read_bytes() for path in pages}
    for path in sorted((ROOT / "results" / profile).glob("*.ipynb")):
        wanted[Path("notebooks") / path.name] = path.read_bytes()
    wanted[Path("book/api.md")] = api_page().encode()
    wanted[Path("book/_generated/findings.csv")] = findings(profile).to_csv(index=False).encode()
    wanted[Path("book/_generated/progress.csv")] = progress(profile).to_csv(index=False).encode()
    wanted[Path("book/_generated/trained.csv")] = trained(profile).to_csv(index=False).encode()
    wanted |= {Path("book/_generated") / name: content for name, content in scoreboard().items()}
    wanted |= {Path("book/_generated") / name: told.to_csv(index=False).encode() for name, told in scale().items()}
    for path in STAGE.rglob("*"):
        if path.is_file() and "_build" not in path.parts and path.relative_to(STAGE) not in wanted:
            path.unlink()
    for path, content in wanted.items():
        target = STAGE / path
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def api_page() -> str:
    """The reference: every module's docstring and public members, in the order in which data flows through them."""
    rank = """types data datasets models triggers poison train sharpness filters in_training evaluate analysis
        all_to_all adversarial isolation keyed polarizer pruning salience selection shaking steering
        surrogates targeted unlearning visibility weights attacks defenses mechanisms recipes
        victims records parameters notebooks experiments manifest expressions ledger claims comparison
        figures plots paired panels tables provenance vision""".split()
    paths = sorted((ROOT / "bdlib").rglob("*.py"), key=lambda path: rank_of(path, rank))
    lines = [
        "# API reference",
        "",
        "Made from the docstrings. Rooms stand in the order in which data flows through them.",
        "",
    ]
    for path in paths:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("bdlib", "bdlib.attacks"):
            lines += [f"## {name}", "", "```{eval-rst}", f".. automodule:: {name}", "   :members:"]
            lines += ["   :exclude-members: images, labels, ids", "```", ""]  # Batch tells them in its signature
    return "\n".join(lines)


def rank_of(path: Path, rank: list[str]) -> tuple[int, str]:
    room = path.relative_to(ROOT / "bdlib").with_suffix("").parts[0]
    return (rank.index(room) if room in rank else len(rank), str(path))


def findings(profile: str) -> pd.DataFrame:
    """What the headline studies of the repairs say, a row for each paper and attack."""
    papers = [paper for paper in comparison.PAPERS if "headline" in notebooks.studies(paper, "quick")]
    studies = {tables.method_name(paper): studies.load_study(paper, profile, "headline") for paper in papers}
    found = tables.findings_table(studies, control="fine-tuning")
    return found if len(found) else pd.DataFrame([["none", "not run yet", *[""] * 5]], columns=found.columns)


def progress(profile: str) -> pd.DataFrame:
    """How many of the planned runs are here, for pages where some are not."""
    told = studies.progress(profile)
    told = told.assign(paper=[page_name(paper) for paper in told["paper"]]).rename(columns={"paper": "page"})
    return told if len(told) else pd.DataFrame([{"page": "none"}])


def page_name(key: str) -> str:
    """What a table calls a chapter, or all of them."""
    others = {"attacks": "attack gallery", "comparison": "comparison", "all": "all"}
    return others.get(key) or tables.method_name(key)


def trained(profile: str) -> pd.DataFrame:
    """The same for the defences that train, beside plain training on the same poisoned sets."""
    runs = comparison.in_training(profile)
    rows = [
        {"method": method, "attack": attack, "plain training ACC / ASR": tables.pair(mine, "before"),
         "method ACC / ASR": tables.pair(mine, "after"), "RA": tables.one(mine["robust_accuracy_after"].mean()),
         "seeds": len(mine)}
        for (method, attack), mine in runs.groupby(["method", "attack"], sort=False)
    ]  # fmt: skip
    return pd.DataFrame(rows or [{"method": "none", "attack": "not run yet"}])


def scale() -> dict[str, pd.DataFrame]:
    """The tables of the page on speed and scale: what the paper profile plans and has, its outcomes, the benchmarks."""
    runs = manifest.table(manifest.planned_runs("paper"))
    rows = [
        {"page": page_name(str(paper)), "runs planned": len(mine), "victims": mine["victim"].nunique(),
         "here": int((mine["state"] == "here").sum()), "missing": int((mine["state"] == "missing").sum())}
        for paper, mine in [*runs.groupby("paper"), ("all", runs)]
    ]  # fmt: skip
    return {
        "paper_scale.csv": pd.DataFrame(rows),
        "paper_outcomes.csv": outcomes("paper"),
        **benchmarks(),
    }


def outcomes(profile: str) -> pd.DataFrame:
    """ACC and ASR in a profile's headline studies, a row for each method, data set and attack; means over seeds."""
    shown = ("headline", "baselines", "suite", "gtsrb")
    runs = [
        studies.load_study(paper, profile, study)
        for paper in notebooks.papers() for study in notebooks.studies(paper, profile) if study in shown
    ]  # fmt: skip
    rows = [
        {"page": page_name(key[0]), "method": key[1], "data set": key[2], "attack": key[3],
         "ACC / ASR before": tables.pair(mine, "before"), "after": tables.pair(mine, "after"), "seeds": len(mine)}
        for found in runs if len(found)
        for key, mine in found.groupby(["paper", "method", "dataset", "attack"], sort=False)
    ]  # fmt: skip
    return pd.DataFrame(rows or [{"page": "none", "method": "not run yet"}])


ENDS = ("value", "low", "high")


def benchmarks() -> dict[str, pd.DataFrame]:
    """The committed tables of the benchmark, one below the other, and the machines that they were measured on."""
    rows, machines = [], []
    for path in sorted((ROOT / "results" / "benchmark").glob("*.json")):
        kept = json.loads(path.read_text())
        machines.append({"scale": kept["profile"], **kept["runtime"]})
        for row in kept["rows"]:
            value, low, high = (f"{row[key]:,.0f}" if row[key] >= 100 else f"{row[key]:.3g}" for key in ENDS)
            rows.append({"scale": kept["profile"], "what": row["what"], "measure": row["measure"], "value": value,
                         "low to high": f"{low} to {high}" if low != high else ""})  # fmt: skip
    none = [{"scale": "none", "what": "not run yet"}]
    return {"benchmark.csv": pd.DataFrame(rows or none), "benchmark_machines.csv": pd.DataFrame(machines or none)}


def scoreboard() -> dict[str, bytes]:
    """The files of the scoreboard page: every claim with its verdict, the counts, and their picture."""
    found = claims.table(claims.load())
    counts = {profile: claims.counts(found, profile) for profile in claims.PROFILES}
    ran = {scale: kinds for scale, kinds in counts.items() if kinds.drop(columns="not run").to_numpy().any()}
    rows = [
        [tables.method_name(paper), scale, *row] for scale, kinds in ran.items() for paper, *row in kinds.itertuples()
    ]
    rows += [["all", scale, *kinds.sum()] for scale, kinds in counts.items()]
    csv = pd.DataFrame(rows, columns=["paper", "scale", *claims.VERDICTS]).to_csv(index=False)
    bars = {
        f"{scale} scale": {tables.method_name(paper): kinds.loc[paper].to_dict() for paper in kinds.index}
        for scale, kinds in (ran or counts).items()
    }
    return {
        "scoreboard.txt": claim_tables(found).encode(),
        "verdict_counts.csv": csv.encode(),
        "verdicts.svg": svg(bars),
    }


def claim_tables(found: pd.DataFrame) -> str:
    """Under the name of each paper, the table of its claims that heads its chapter."""
    parts = []
    for paper, rows in found.groupby("paper", sort=False):
        parts.append(f"### [{tables.method_name(paper)}](../notebooks/{paper}.ipynb)\n")
        parts.append(claims.styled(rows.drop(columns="paper").reset_index(drop=True), paper).to_html())
    return "\n".join(parts)


def svg(bars: dict[str, dict[str, dict[str, int]]]) -> bytes:
    """The counts of verdicts as a picture; the same counts give the same bytes."""
    figures.style()
    drawn = io.BytesIO()
    x = "claims" if len(bars) > 1 else f"claims at {next(iter(bars))}"
    plots.stacked(bars, x=x).savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def build() -> None:
    """Run Jupyter Book, a warning counting as an error, and copy what it made to build/book."""
    command = ["jupyter-book", "build", ".", "--toc", "book/_toc.yml", "-W", "--keep-going", "-q"]
    done = subprocess.run([str(Path(sys.executable).with_name(command[0])), *command[1:]], cwd=STAGE)
    if done.returncode:
        sys.exit(f"jupyter-book failed with status {done.returncode}")
    shutil.copytree(STAGE / "_build" / "html", TARGET, dirs_exist_ok=True)


class Page(HTMLParser):
    """What a built page offers and asks for: anchors, links and images."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.anchors |= {found[name] or "" for name in ("id", "name") if name in found}
        self.links += [found[name] or "" for name in ("href", "src") if name in found]
        if tag == "img":
            self.images.append(found)


def faults(site: Path) -> list[str]:
    """Every link inside `site` that leads nowhere, every image without alternative text; a line each."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]  # not the theme's own templates
    pages = {path.resolve(): Page(path) for path in paths}
    found = []
    for path, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc or link.startswith("//"):
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if not target.exists():
                found.append(f"{path.name}: {link} does not exist")
            elif address.fragment and target in pages and unquote(address.fragment) not in pages[target].anchors:
                found.append(f"{path.name}: {link} has no such anchor")
        found += [
            f"{path.name}: {image.get('src')} has no alternative text" for image in page.images if not image.get("alt")
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="quick", choices=("smoke", "quick", "paper"))
    profile = parser.parse_args().profile
    shutil.rmtree(TARGET, ignore_errors=True)
    stage(profile)
    build()
    wrong = faults(TARGET)
    if wrong:
        sys.exit("\n".join([f"{len(wrong)} faults in the built book:", *wrong]))
    print(f"\nThe book is in {TARGET.relative_to(ROOT)}. Open it: {(TARGET / 'index.html').as_uri()}")


if __name__ == "__main__":
    main()
