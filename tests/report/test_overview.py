"""The README's picture, which must be that of the committed records."""

from bdlib.folders import ROOT
from bdlib.report.overview import overview_svg


def test_the_committed_picture_is_that_of_the_records():
    """Equal records give equal bytes; `make book` writes the picture anew."""
    drawn = overview_svg()
    assert drawn == (ROOT / "results" / "overview.svg").read_bytes()
    assert "results/overview.svg" in (ROOT / "README.md").read_text()
