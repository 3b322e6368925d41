"""The map: every method has one place, the place follows from what it is given, and the picture leads to its page."""

from inspect import signature
from xml.etree import ElementTree as ET

import pytest
from test_promises import FAST

from bdlib.data.images import ImageSet
from bdlib.defenses import DEFENSES
from bdlib.defenses.detectors import DETECTORS
from bdlib.defenses.vdc.method import cross_examine
from bdlib.experiments import notebooks
from bdlib.files import FileError
from bdlib.folders import ROOT
from bdlib.report.lifecycle import (
    FILE,
    STAGES,
    Method,
    assumptions,
    load_registry,
    stage_of,
    stage_words,
    taken_by,
)
from bdlib.report.lifecycle_picture import lifecycle_svg, words
from bdlib.training.filter_masks import batch_norms

REGISTRY = load_registry()
FUNCTIONS = DEFENSES | DETECTORS  # of a filter that is both, the detector: the defense trains on what it leaves
COMBINATIONS = {"staged", "vdc"}  # of methods that have their own places; of a cleansing and the training after it
UNMAPPED = {  # pages of no method that has a place
    "notebooks/survey",
    "notebooks/mp_fair",
    "notebooks/workshop",
    "notebooks/reactivation",
}  # UNMAPPED
HREF = "{http://www.w3.org/2000/svg}a"


def test_every_method_has_a_place_and_attacks_are_on_their_own_side():
    assert FUNCTIONS.keys() - COMBINATIONS <= REGISTRY.methods.keys()
    assert {key for key, method in REGISTRY.methods.items() if method.side == "attack"} == {"attacks", "lps"}
    chapters = {f"notebooks/{paper}" for paper in notebooks.papers()} - UNMAPPED
    assert chapters <= {method.page for method in REGISTRY.methods.values()}


@pytest.mark.parametrize("key", [key for key in FUNCTIONS if key not in COMBINATIONS])
def test_what_is_declared_is_what_the_function_is_given(key):
    method = REGISTRY.methods[key]
    assert taken_by(FUNCTIONS[key], method.looks_with) == set(method.takes)
    assert stage_of(method.takes) == method.stage


def test_the_cleansing_of_vdc_is_given_the_images_and_no_network():
    asked = signature(cross_examine).parameters
    assert asked["data"].annotation is ImageSet and not {"model", "make_model", "clean", "queries"} & asked.keys()
    assert stage_of(REGISTRY.methods["vdc"].takes) == "pre-training"


def test_the_rule_knows_every_stage_that_a_defense_of_images_can_have():
    assert stage_of(("queries", "network", "clean images")) == "inference"
    assert stage_of(("poisoned images", "training", "clean images")) == "training"
    assert stage_of(("poisoned images",)) == "pre-training"
    assert stage_of(("network", "clean images")) == "post-training"
    assert stage_of(("network",)) == "post-training"
    assert stage_of(("clean images",)) is None


REPAIRS = [key for key, method in REGISTRY.methods.items() if method.stage == "post-training" and key != "nwc"]


@pytest.mark.parametrize("key", REPAIRS)  # NWC's reset neurons are tuned afterwards, so that nothing shows
def test_a_repair_that_changes_the_structure_leaves_traces_and_no_other_does(key, backdoored, clean):
    given = [backdoored] if "clean" not in signature(DEFENSES[key]).parameters else [backdoored, clean]
    repaired = DEFENSES[key](*given, **FAST[key])
    before, after = ({name: value.shape for name, value in net.state_dict().items()} for net in (backdoored, repaired))
    silent = [int((norm.weight == 0).sum()) for norm in batch_norms(repaired).values()]
    hooked = any(module._forward_pre_hooks for module in repaired.modules())
    masked = any(bool((value == 0).any()) for name, value in repaired.state_dict().items() if name == "head.weight")
    assert (before != after or any(silent) or hooked or masked) == REGISTRY.methods[key].changes_architecture


def test_the_picture_shows_every_method_once_and_links_to_a_page_that_is_there():
    drawing = ET.fromstring(lifecycle_svg(REGISTRY))
    texts = [node.text for node in drawing.iter("{http://www.w3.org/2000/svg}text")]
    for method in REGISTRY.methods.values():
        assert texts.count(method.name) == 1
    links = {node.get("href") for node in drawing.iter(HREF)}
    assert links == {method.address for method in REGISTRY.methods.values() if method.address}
    sources = {link.removeprefix("../").removesuffix(".html") for link in links if not link.startswith("#")}
    assert all((ROOT / f"{source}.ipynb").is_file() for source in sources)
    assert "(filters)=" in (ROOT / "book" / "map.md").read_text(encoding="utf-8")


def test_the_picture_has_words_for_who_cannot_see_it_and_no_blank_line_for_the_page():
    text = lifecycle_svg(REGISTRY).decode()
    assert text == lifecycle_svg(REGISTRY).decode() and "\n\n" not in text
    assert words(REGISTRY) in text and all(stage in words(REGISTRY) for stage in STAGES)
    assert all(method.name in words(REGISTRY) for method in REGISTRY.methods.values())


def test_the_matrix_has_a_row_for_each_defense_and_the_words_a_part_for_each_stage():
    table = assumptions(REGISTRY)
    assert len(table) == sum(method.side == "defense" for method in REGISTRY.methods.values())
    adds = table[table["extra work per query"] != ""]["method"].str.extract(r"(\w+)")[0]
    assert list(adds) == ["PDB", "NPD", "STRIP"]  # the page says three
    without = [method for method in REGISTRY.methods.values() if method.side == "defense" and "clean images" not in
               method.takes]  # fmt: skip
    assert {method.name for method in without if method.stage != "pre-training"} == {"ABL", "CLP"}  # and this
    assert all(f"**{number}. {stage.capitalize()}.**" in stage_words(REGISTRY)
               for number, stage in enumerate(STAGES, 1))  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("takes: [poisoned images, training]", "takes: [poisoned images]",
         "abl: stage: 'training': by what it takes, it is pre-training"),
        ("branch: removal by tuning, takes", "branch: removal, takes",
         "fine_tune: branch: 'removal': must be removal by tuning"),
        ("takes: [poisoned images, training]", "takes: [clean images]",
         "abl: stage: 'training': by what it takes, it fits no stage"),
        ("side: attack", "side: red", "methods.attacks.side: 'red'"),
        ("  deployment:\n", "  deploy:\n", "deploy"),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_one_line_that_names_it(old, new, words, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(FILE.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FileError) as raised:
        load_registry(path)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_the_page_of_a_method_may_have_a_digit_in_its_name():
    assert Method(name="WASH2", page="notebooks/wash2", stage="training", branch="x").page == "notebooks/wash2"


@pytest.mark.parametrize("text", ["", "- abl\n"])
def test_a_map_without_entries_is_one_line(text, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError) as raised:
        load_registry(path)
    assert str(raised.value) == f"{path}: must have the keys stages and methods"
