"""What a built page still needs, so that every reader can use it: mended in the HTML, because others write it there."""

import re

# Scripts for live code, which the book does not offer; jupyter-book adds one of them twice, an error on every page.
LIVE_CODE = re.compile(
    r"\s*<script[^>]*>const THEBE_JS_URL.*?</script>|\s*<script[^>]*sphinx-thebe\.js.*?</script>", re.S
)
UNNAMED = '<summary><span class="toctree-toggle"'  # opens the pages below an entry of the table of contents
PARAMETERS = re.compile(r'<dl>(?=\s*<dd><em class="sig-param">)')  # of a long signature: no list of definitions
PARAMETER = '<dd><em class="sig-param">'


def finished(page: str) -> str:
    """A built page without scripts that fail, and with names and roles for what a screen reader meets.

    Example: `finished('<summary><span class="toctree-toggle"></span></summary>')` gives the summary a name.
    """
    page = LIVE_CODE.sub("", page)
    page = page.replace(UNNAMED, UNNAMED.replace("<summary>", '<summary aria-label="Pages below this entry">'))
    page = PARAMETERS.sub('<dl role="none">', page)
    return page.replace(PARAMETER, PARAMETER.replace("<dd>", '<dd role="none">'))
