"""The board's own plan: which runs it asks for, in what order, and that a chapter's record counts for both."""

import pytest

from bdlib.attacks import ATTACKS
from bdlib.checks import ParameterError
from bdlib.cli import main
from bdlib.defenses import DEFENSES
from bdlib.experiments import board_plan, manifest, notebooks, pages, studies
from bdlib.experiments.board_plan import BOARD, board_runs
from bdlib.files import FileError
from bdlib.report.board_settings import share_of_images


@pytest.mark.parametrize("profile, seeds", [("quick", {0, 1, 2}), ("cifar", {0})])
def test_the_plan_is_every_defence_on_ten_attacks_at_the_rates_that_work(profile, seeds):
    runs = manifest.planned_runs(profile, [BOARD])
    found = {(run.method, run.parameters["attack"], share_of_images(run.parameters), run.parameters["seed"])
             for run in runs}  # fmt: skip
    attacks, defenses = {*ATTACKS} - {"none"}, {*DEFENSES} - {"vdc", "staged"}
    rates = {attack: {0.05, 0.01, 0.001} | (set() if ATTACKS[attack].clean_label else {0.1}) for attack in attacks}
    assert found == {(d, a, r, s) for d in defenses for a in attacks for r in rates[a] for s in seeds}
    assert len(runs) == len(found) and {run.study for run in runs} == {BOARD}


@pytest.fixture(scope="module")
def everything():
    """All that is planned at one profile."""
    return manifest.planned_runs("cifar")


def test_ten_per_cent_comes_first_and_repairs_before_training(everything):
    """Then one per cent; the board comes after all that the chapters plan."""
    groups = manifest.missing_groups(everything)
    of_board = [group for group in groups if group[0].study == BOARD]
    assert groups[len(groups) - len(of_board) :] == of_board
    tiers = [run.tier for group in of_board for run in group]
    assert tiers == sorted(tiers)
    first = {tier: next(run for run in board_runs("cifar") if run.tier == tier) for tier in (0, 1, 2)}
    assert [first[tier].defense for tier in first] == ["fine_tune", "abl", "fine_tune"]
    assert [first[tier].parameters["poison_rate"] for tier in first] == [0.1, 0.1, 0.01]


def test_a_defence_belongs_to_its_chapter_or_to_the_page_that_runs_it():
    places = {key: board_plan.page_of(key) for key in DEFENSES}
    assert {key for key, page in places.items() if page == "survey"} == {"staged"}
    assert {key for key, page in places.items() if page == "comparison"} == {*DEFENSES} - {
        *notebooks.papers(),
        "staged",
    }
    assert board_plan.page_of("no_defense") == "no_defense"


def test_a_run_that_a_chapter_plans_too_is_one_run(everything):
    headline = {run.path for run in everything if (run.paper, run.study) == ("nad", "headline")}
    of_board = {run.path for run in manifest.planned_runs("cifar", [BOARD])}
    assert len(headline & of_board) == 4  # NAD itself on four attacks, one of its three seeds
    assert len({run.path for run in everything}) == len(everything)
    alone = [run for run in everything if run.study == BOARD]
    assert not headline & {run.path for run in alone}
    progress = studies.progress("cifar").set_index("paper")["planned"]
    assert progress[BOARD] == len(alone) and progress["nad"] == len(notebooks.grid("nad", "cifar"))
    assert progress.sum() == len(everything)


def test_the_command_lists_the_boards_runs_alone():
    from click.testing import CliRunner

    listed = CliRunner().invoke(main, ["records", "--paper", BOARD, "--profile", "cifar", "--list"])
    missing = manifest.missing_groups(manifest.planned_runs("cifar", [BOARD]))
    assert listed.exit_code == 0 and len(listed.output.splitlines()) == sum(map(len, missing))


@pytest.mark.parametrize("text, culprit", [
    ("a: [{method: board, attack: [sig], seed: [0], poison_rate: [0.1]}]", "a: method, attack, seed, poison_rate"),
    ("a: [{method: m, attack: [sig], seed: [0], poison_rate: [0.1], defense: [nat]}]", "defense='nat'"),
    ("a: [{method: m, attack: [sgi], seed: [0], poison_rate: [0.1], defense: [nad]}]", "attack='sgi'"),
    ("a: [{method: m, attack: [sig], seed: [0], poison_rate: [1.0], defense: [nad]}]", "poison_rate=1.0"),
    ("a: 3", "a: must be a list"),
])  # fmt: skip
def test_a_wrong_plan_is_refused_in_one_line_that_names_the_file(tmp_path, monkeypatch, text, culprit):
    path, profile_file = tmp_path / "board.records.yaml", pages.profile_file

    def other(paper, profile, kind=""):
        return path if paper == BOARD else profile_file(paper, profile, kind)

    path.write_text(text)
    monkeypatch.setattr(pages, "profile_file", other)
    board_plan._board_runs.cache_clear()
    with pytest.raises((FileError, ParameterError)) as error:
        board_runs("quick")
    assert str(path) in str(error.value) and culprit in str(error.value) and "\n" not in str(error.value)
    board_plan._board_runs.cache_clear()
