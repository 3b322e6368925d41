"""One color and one mark for one meaning, throughout the book.

Blue is the chapter's method, light blue another form of it, orange its control, gray the victim. Colors are Okabe and
Ito's, which color-blind readers can tell apart; marks differ too.
"""

from collections.abc import Sequence

VICTIM = ("#767676", "D")
METHOD = ("#0072B2", "o")  # the chapter's method, whichever it is
SECOND = ("#56B4E9", "v")  # the chapter's method as its authors released it, where the headline shows both
CONTROLS = ("fine-tuning", "plain training", "ABL, random isolation", "random")
STYLES = {"victim": VICTIM, "FUS": ("#009E73", "^")} | dict.fromkeys(CONTROLS, ("#D55E00", "s"))
SECONDS = ("PDB, corner key", "NPD, after the last map", "AR, classifier alone", "NWC, share by rule")
STYLES |= dict.fromkeys(SECONDS, SECOND)
STYLES["shared control"] = ("#E69F00", "v")
MEANINGS = {"clean": "#009E73", "triggered": "#CC79A7", "ACC": "#009E73", "ASR": "#CC79A7", "RA": "#56B4E9",
            "backdoor": "#CC79A7", "other": "#999999", "reproduced": "#009E73", "partly": "#F0E442",
            "not reproduced": "#E69F00", "undecided": "#56B4E9",
            "not testable": "#999999", "not run": "#DDDDDD", "chance": "#999999"}  # fmt: skip
OTHERS = ("#0072B2", "#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#000000")


def color(method: str) -> str:
    """The color of a method's marks."""
    return STYLES.get(method, METHOD)[0]


def marker(method: str) -> str:
    """The shape of a method's marks, as Matplotlib calls it."""
    return STYLES.get(method, METHOD)[1]


def colors(names: Sequence[str]) -> dict[str, str]:
    """A color for each name: its meaning's where it has one, else the next of the palette that is not taken."""
    known = {name: MEANINGS.get(name) or color(name) for name in names if name in {*MEANINGS, *STYLES}}
    free = [tint for tint in OTHERS if tint not in known.values()]
    rest = [name for name in names if name not in known]
    return known | {name: free[i % len(free)] for i, name in enumerate(rest)}
