"""Links from the first use of a glossary word on each page to its entry, put in while the book is laid out."""

import json
import re
from functools import cache
from pathlib import Path

GLOSSARY = "book/glossary.md"
PROTECTED = re.compile(
    r"`[^`]*`|\{[\w:]+\}`[^`]*`|!?\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])?|\$[^$]*\$|<[^>]*>|https?://\S+"
)
NO_SENTENCE = re.compile(r"\s*(#|\||:|<|\$\$|\(\S+\)=|\+\+\+|---)")  # headings, tables, options, HTML, formulas, labels


def terms(glossary: str) -> list[str]:
    """The words that a page of MyST's `glossary` directive explains, the longest first."""
    body = glossary.split("```{glossary}\n")[1].split("\n```")[0]
    return sorted((line for line in body.splitlines() if line and not line[0].isspace()), key=len, reverse=True)


@cache
def pattern(term: str) -> re.Pattern[str]:
    """The word, alone or in the plural; capital letters count only in abbreviations."""
    letters = term if term.isupper() else f"(?i:{re.escape(term[0])}){re.escape(term[1:])}"
    return re.compile(rf"(?<![\w-]){letters}(?:s|es)?(?![\w-])")


def linked(content: bytes, words: list[str], *, notebook: bool) -> bytes:
    """A page with the first use of each word linked. Headings, tables, code, formulas and links stay as they are."""
    left = list(words)
    if not notebook:
        return link_text(content.decode(), left).encode()
    page = json.loads(content)
    for cell in page["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = link_text("".join(cell["source"]), left)
    return json.dumps(page).encode()


def link_text(text: str, left: list[str]) -> str:
    """`text` with links; the words that have got theirs are taken out of `left`."""
    lines, fence, formula = [], "", False
    for line in text.split("\n"):
        mark = re.match(r"\s*(`{3,}|~{3,}|:{3,})", line)
        if mark:
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        formula ^= line.count("$$") % 2 == 1
        plain = not (fence or mark or formula or NO_SENTENCE.match(line))
        lines.append(link_line(line, left) if plain else line)
    return "\n".join(lines)


def link_line(line: str, left: list[str]) -> str:
    """One line with links, outside of what is protected."""
    for word in [*left]:
        spans = [found.span() for found in PROTECTED.finditer(line)]
        for found in pattern(word).finditer(line):
            if not any(start < found.end() and found.start() < end for start, end in spans):
                line = f"{line[: found.start()]}{{term}}`{found[0]} <{word}>`{line[found.end() :]}"
                left.remove(word)
                break
    return line


def with_glossary(sources: dict[Path, bytes]) -> dict[Path, bytes]:
    """The staged files of the book, with the links; those that are no page are returned as they are."""
    words = terms(sources[Path(GLOSSARY)].decode())
    return {
        path: linked(content, words, notebook=path.suffix == ".ipynb")
        if path.suffix in (".md", ".ipynb") and path != Path(GLOSSARY) and path.parts[1].split(".")[0] != "api"
        else content
        for path, content in sources.items()
    }
