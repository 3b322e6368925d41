"""A document of `bdlib.report.review` as one HTML file and as PDF."""

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Literal

import matplotlib
import pandas as pd
from fpdf import FPDF
from fpdf.enums import Align
from matplotlib.figure import Figure

from bdlib.files import write_whole
from bdlib.report.figures import html_image, png
from bdlib.report.review import Block, Section

FONT = "DejaVu"
FONTS = {"": "DejaVuSans.ttf", "B": "DejaVuSans-Bold.ttf"}  # Matplotlib brings them
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#111}
table{border-collapse:collapse;font-size:.85em;margin:1em 0}
td,th{border:1px solid #bbb;padding:.3em .5em;text-align:left;vertical-align:top;white-space:pre-line;min-width:5em}
th{background:#f2f2f2}.wide{overflow-x:auto}
img{max-width:100%}@media print{body{font-size:10px;margin:0}section{break-inside:auto}tr,img{break-inside:avoid}}"""


def write_review(heading: str, sections: Sequence[Section], folder: Path, name: str) -> list[Path]:
    """Write `<name>.html` and `<name>.pdf` into `folder`, each whole or not at all; returns their paths.

    Example: ``write_review(title("nad"), review("nad"), Path("."), "nad-report")``
    """
    contents = {"html": as_html(heading, sections).encode(), "pdf": as_pdf(heading, sections)}
    return [write_whole(folder / f"{name}.{kind}", content) for kind, content in contents.items()]


def as_html(heading: str, sections: Sequence[Section]) -> str:
    """The document as one file: figures are inside it, and it loads nothing."""
    parts = [f"<section><h2>{escape(part.title)}</h2>{''.join(map(_html, part.blocks))}</section>" for part in sections]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(heading)}</title>'
    body = f"<h1>{escape(heading)}</h1>{''.join(parts)}"
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def _html(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Figure):
        return html_image(block, "ASR and clean accuracy of each method on each attack")
    head = "".join(f"<th>{escape(str(name))}</th>" for name in block)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in block.itertuples(index=False)
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def as_pdf(heading: str, sections: Sequence[Section]) -> bytes:
    """The document as PDF on A4, landscape."""
    pdf = FPDF(orientation="landscape")
    pdf.set_title(heading)
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for style, file in FONTS.items():
        pdf.add_font(FONT, style, fonts / file)
    pdf.add_page()
    _line(pdf, heading, size=16, style="B")
    for section in sections:
        _line(pdf, section.title, size=12, style="B")
        for block in section.blocks:
            _into(pdf, block)
    return bytes(pdf.output())


def _into(pdf: FPDF, block: Block) -> None:
    """Add one paragraph, figure or table below what is there."""
    if isinstance(block, str):
        _line(pdf, block, size=8)
    elif isinstance(block, Figure):
        pdf.image(io.BytesIO(png(block)), w=pdf.epw * 0.8, x=Align.C)
    elif len(block.columns):
        _table(pdf, block)


def _line(pdf: FPDF, text: str, *, size: int, style: Literal["", "B"] = "") -> None:
    pdf.set_font(FONT, style, size)
    pdf.multi_cell(0, size * 0.5, text, new_x="LMARGIN", new_y="NEXT")
    pdf.ln(size * 0.15)


def _table(pdf: FPDF, table: pd.DataFrame) -> None:
    """A table as wide as the page; a column is as wide as the words in it ask for."""
    texts = table.astype(str).reset_index(drop=True)
    wants = [min(60, max(len(str(name)), *(max(map(len, cell.split("\n"))) for cell in texts[name])))
             for name in texts]  # fmt: skip
    pdf.set_font(FONT, "", 6)
    width = min(pdf.epw, 1.6 * sum(max(6, want) for want in wants) + 4 * len(wants))
    shares = [max(6, want) for want in wants]
    with pdf.table(col_widths=shares, width=width, line_height=3, align="LEFT", text_align="LEFT", padding=0.6) as grid:
        for cells in ([str(name) for name in texts], *texts.to_numpy().tolist()):
            row = grid.row()
            for cell in cells:
                row.cell(cell)
    pdf.ln(3)
