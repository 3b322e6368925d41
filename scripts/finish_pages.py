"""What a built page still needs, so that every reader can use it: mended in the HTML, because others write it there."""

import re

# Scripts for live code, which the book does not offer; jupyter-book adds one of them twice, an error on every page.
LIVE_CODE = re.compile(
    r"\s*<script[^>]*>const THEBE_JS_URL.*?</script>|\s*<script[^>]*sphinx-thebe\.js.*?</script>", re.S
)
# Scripts that nothing on the page uses: all icons once more as drawings, beside the font; the index for a search.
UNUSED = r"\s*<script[^>]*(?:{})\.js[^>]*></script>"
ICONS = re.compile(UNUSED.format("fontawesome"))
FORMULAS = re.compile(UNUSED.format("mathjax/tex-chtml"))
SEARCH = re.compile(UNUSED.format("searchtools|language_data|/searchindex"))
# MathJax whole is 1.2 MB. Its parts for these pages are 0.7 MB: no menu, no second way of writing formulas.
MATHJAX, OPTIONS = "mathjax/tex-chtml.js", "window.MathJax = {"
PARTS = '"loader": {"load": ["core", "input/tex", "output/chtml", "a11y/assistive-mml"]}, '
PER_CENT = re.compile(r"(<script.*?</script>|<pre.*?</pre>)|(?<=\d) %", re.S)  # the sign stays with its number
UNNAMED = '<summary><span class="toctree-toggle"'  # opens the pages below an entry of the table of contents
CITATIONS = '<div role="list" class="citation-list">'  # whose parts are no items of a list
PARAMETERS = re.compile(r'<dl>(?=\s*<dd><em class="sig-param">)')  # of a long signature: no list of definitions
PARAMETER = '<dd><em class="sig-param">'


def finished(page: str) -> str:
    """A built page without scripts that fail or are not used, and with names and roles for what a screen reader meets.

    Example: `finished('<summary><span class="toctree-toggle"></span></summary>')` gives the summary a name.
    """
    page = ICONS.sub("", LIVE_CODE.sub("", page))
    if 'id="search-results"' not in page:
        page = SEARCH.sub("", page)
    if 'class="math' not in page:
        page = FORMULAS.sub("", page)
    elif MATHJAX in page:
        page = page.replace(MATHJAX, "mathjax/startup.js").replace(OPTIONS, OPTIONS + PARTS)
    page = PER_CENT.sub(lambda found: found[1] or "\u00a0%", page)
    page = page.replace(UNNAMED, UNNAMED.replace("<summary>", '<summary aria-label="Pages below this entry">'))
    page = page.replace(CITATIONS, CITATIONS.replace(' role="list"', ""))
    page = PARAMETERS.sub('<dl role="none">', page)
    return page.replace(PARAMETER, PARAMETER.replace("<dd>", '<dd role="none">'))
