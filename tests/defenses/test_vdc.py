"""VDC: its three stages, its verdicts, and the closed form that they have where an oracle answers."""

import inspect
from functools import partial
from math import sqrt

import pytest
import torch
from torch import Generator
from toy_task import STATISTICS

from bdlib.attacks.badnets import BadNets
from bdlib.attacks.poisoning import poison
from bdlib.checks import ParameterError
from bdlib.data.datasets import CLASS_NAMES
from bdlib.data.images import ImageSet
from bdlib.defenses.vdc import vdc
from bdlib.defenses.vdc.answerers.efficientnet import WEIGHTS, EfficientNetLite, load_recognizer
from bdlib.defenses.vdc.answerers.oracle import OracleAnswerer
from bdlib.defenses.vdc.answerers.protocol import Answerer, AnswererError
from bdlib.defenses.vdc.answerers.recognizer import RecognizerAnswerer, classes_of
from bdlib.defenses.vdc.evaluation import agrees
from bdlib.defenses.vdc.method import cross_examine, dirty, suspicion
from bdlib.defenses.vdc.questions import GENERAL, generate_questions, questions_about, questions_for, shipped
from bdlib.mechanisms.vdc import detection, expected_rates
from bdlib.mechanisms.vdc_noise import noisy_sets
from bdlib.models import small_resnet

NAMES = CLASS_NAMES["cifar10"]


@pytest.fixture(scope="module")
def train():
    generator = Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3000, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(3000) % 10)


@pytest.fixture(scope="module")
def truth(train):
    return poison(train, BadNets(size=2), target_label=0, poison_rate=0.09, seed=0)


def oracle(train, data, **options):
    return OracleAnswerer(ImageSet(data.images, train.labels), NAMES, **options)


# Questions and answers


def test_every_shipped_class_has_the_same_number_of_distinct_questions():
    questions = questions_for((*CLASS_NAMES["cifar10"], *CLASS_NAMES["fashion"]))
    assert [[q.kind for q in its] for its in questions] == [["general"] * 2 + ["specific"] * 4] * 20
    texts = [q.text for its in questions for q in its if q.kind == "specific"]
    assert len(texts) == len(set(texts)) == 80
    assert {*shipped()} == {*CLASS_NAMES["cifar10"], *CLASS_NAMES["fashion"]}
    for entry in shipped().values():
        numbers = [entry.get("imagenet"), *(part.get("imagenet") for part in entry["specific"])]
        assert all(n is None for n in numbers) or all(classes_of(n).any() for n in numbers)


def test_other_classes_get_four_sentences_and_names_must_be_distinct_words():
    assert "zebra crossing" in questions_about("zebra crossing")[5].text
    for names in (("cat", "cat"), ("cat", ""), ("cat", "  ")):
        with pytest.raises(ParameterError, match=r"\Aclass_names: "):
            questions_for(names)


@pytest.mark.parametrize(("kind", "answer", "agreeing"), [
    ("specific", "Yes.", True), ("specific", "Yesterday I saw one.", False), 
    ("specific", "No, but yes to a dog", False),
    ("specific", "I'm not sure, yes?", False), ("specific", "I don't know.", False), ("specific", "", False),
    ("specific", "YES it has 2 ears", True), ("general", "A scarf on a chair", False), ("general", "A Kitten!", True),
    ("general", "There is no cat here", False), ("general", "a dog, not a cat", False), ("general", "two cats", True),
    ("general", "catfish", False), ("general", "a cat-like toy", False),
])  # fmt: skip
def test_answers_are_read_by_whole_words(kind, answer, agreeing):
    question = next(q for q in questions_about("cat") if q.kind == kind)
    assert agrees(question, answer) == agreeing


def test_a_judge_decides_only_where_no_word_of_the_label_is_there():
    asked = []

    def judge(text):
        asked.append(text)
        return "Yes, it is."

    question = questions_about("cat")[0]
    assert agrees(question, "a cat", judge) and not asked
    assert agrees(question, "a small feline", judge) and "a small feline" in asked[0] and "cat" in asked[0]
    assert not agrees(question, "a small feline", lambda text: "no")


def test_a_language_model_can_write_the_questions():
    questions = generate_questions("tabby", lambda text: "1. Has it fur?\nnonsense\n- Is it a pet?\n", count=2)
    assert [q.text for q in questions[2:]] == ["Has it fur? Answer yes or no.", "Is it a pet? Answer yes or no."]
    for answer in ("Has it fur?", "Has it fur?\n" * 4):
        with pytest.raises(ParameterError, match="wrote 1 of 4 questions"):
            generate_questions("tabby", lambda text, answer=answer: answer)
    with pytest.raises(ParameterError, match=r"\Acount=0: must be a whole number from 1 to 100\Z"):
        generate_questions("tabby", lambda text: "", count=0)


@pytest.mark.parametrize(("name", "answer"), [("7", "It is a 7."), ("7", "a seven"), ("Boeing 747", "A Boeing 747!")])
def test_digits_in_a_class_name_are_read_as_those_in_an_answer(name, answer):
    assert agrees(questions_about(name)[0], answer) and not agrees(questions_about(name)[0], "It is an 8.")


# Verdicts


def test_a_perfect_oracle_finds_all_wrong_labels_and_no_other(train, truth):
    agreement = cross_examine(truth.data, NAMES, oracle(train, truth.data))
    assert torch.equal(dirty(agreement), truth.is_poisoned)
    assert suspicion(agreement)[truth.is_poisoned].min() == 1 and suspicion(agreement)[~truth.is_poisoned].max() == 0


def test_labels_that_are_right_are_never_found(train):
    hidden = poison(train, BadNets(size=2), target_label=0, poison_rate=0.5, seed=0, clean_label=True)
    assert not dirty(cross_examine(hidden.data, NAMES, oracle(train, hidden.data))).any()


@pytest.mark.parametrize("error", [0.1, 0.3])
@pytest.mark.parametrize(("questions", "counts"), [("specific", (0, 4)), ("both", (2, 4)), ("general", (2, 0))])
def test_rates_are_those_of_the_closed_form(train, truth, error, questions, counts):
    agreement = cross_examine(truth.data, NAMES, oracle(train, truth.data, error=error, seed=3), questions=questions)
    found = detection(agreement, truth.is_poisoned, threshold=0.5)
    expected = expected_rates(error, *counts, classes=10)
    sizes = [int(truth.is_poisoned.sum()), int((~truth.is_poisoned).sum())]
    for name, p, n in zip(("tpr", "fpr"), expected, sizes, strict=True):
        assert found[name] == pytest.approx(p, abs=max(3 * sqrt(p * (1 - p) / n), 1e-6)), name


def test_random_answers_tell_nothing_apart(truth):
    class Guess:
        name, generator = "guess", Generator().manual_seed(1)

        def answer(self, images, questions):
            return [
                ["yes" if torch.rand((), generator=self.generator) < 0.5 else "no" for _ in its] for its in questions
            ]

    found = detection(cross_examine(truth.data, NAMES, Guess(), questions="specific"), truth.is_poisoned, threshold=0.5)
    assert found["tpr"] == pytest.approx(found["fpr"], abs=0.1)


def test_thresholds_flag_nothing_and_everything_and_ties_are_dirty():
    agreement = torch.tensor([[False] * 6, [True] * 3 + [False] * 3, [True] * 6])
    assert not dirty(agreement, threshold=-1.0).any() and dirty(agreement, threshold=1.0).all()
    assert dirty(agreement).tolist() == [True, True, False]
    assert all(dirty(torch.tensor([[True] * k + [False] * (6 - k)]), threshold=k / 6) for k in range(7))


def test_the_order_of_images_changes_nothing_and_answers_repeat(train, truth):
    answerer = oracle(train, truth.data, error=0.2)
    once, order = cross_examine(truth.data, NAMES, answerer), torch.randperm(3000)
    assert torch.equal(cross_examine(truth.data, NAMES, answerer), once)
    assert torch.equal(cross_examine(truth.data[order], NAMES, answerer), once[order])


def test_names_may_be_a_list(train, truth):
    listed = cross_examine(truth.data, [*NAMES], oracle(train, truth.data))
    assert torch.equal(listed, cross_examine(truth.data, NAMES, oracle(train, truth.data)))


def test_it_is_given_images_given_labels_and_names_alone():
    parameters = inspect.signature(cross_examine).parameters
    assert [*parameters] == ["data", "class_names", "answerer", "questions", "asked", "judge"]
    assert [*inspect.signature(Answerer.answer).parameters] == ["self", "images", "questions"]


@pytest.mark.parametrize(("change", "words"), [
    ({"class_names": ("cat", "dog")}, "class_names: 2 names, but there is a label 9"),
    ({"class_names": ["cat"] * 10}, r"class_names: 'cat': must be words, each there once"),
    ({"class_names": "cat"}, "class_names='cat': must be a list, each item text"),
    ({"questions": "all"}, "questions='all': must be one of"),
    ({"answerer": None}, "answerer=None: must be"), ({"data": "images"}, "data="),
])  # fmt: skip
def test_bad_arguments_are_one_line(train, truth, change, words):
    arguments = {"data": truth.data, "class_names": NAMES, "answerer": oracle(train, truth.data)} | change
    with pytest.raises(ParameterError, match=rf"\A{words}[^\n]*\Z"):
        cross_examine(**arguments)


def test_a_set_without_kept_images_and_a_wrong_number_of_answers_are_errors(train, truth):
    ten_classes = partial(small_resnet, 3, 10, *STATISTICS)
    with pytest.raises(ParameterError, match=r"\Athreshold=1.0: must be a number from 0, below 1\Z"):
        vdc(ten_classes, truth.data, NAMES, oracle(train, truth.data), threshold=1.0)

    class Unsure:
        name = "unsure"

        def answer(self, images, questions):
            return [["I do not know."] * len(asked) for asked in questions]

    with pytest.raises(ParameterError, match="threshold=0.5: keeps 0 of 3000 images"):
        vdc(ten_classes, truth.data, NAMES, Unsure())

    class Mute:
        name = "mute"

        def answer(self, images, questions):
            return [[] for _ in images]

    with pytest.raises(AnswererError, match="mute: must give one answer"):
        cross_examine(truth.data, NAMES, Mute())
    with pytest.raises(ParameterError, match="no true label"):
        cross_examine(ImageSet(255 - truth.data.images, truth.data.labels), NAMES, oracle(train, truth.data))


@pytest.mark.parametrize(("answer", "words"), [
    (None, "a list of answers"), (["nnoooo"] * 3000, "a list of answers"), ([[None] * 6] * 1000, "in text, not None"),
])  # fmt: skip
def test_answers_that_are_none_are_one_line(truth, answer, words):
    class Odd:
        name = "odd"

        def answer(self, images, questions):
            return answer

    with pytest.raises(AnswererError, match=rf"\Aodd: must (give|answer) {words}[^\n]*\Z"):
        cross_examine(truth.data, NAMES, Odd())


def test_questions_of_ones_own_are_as_many_for_each_class_and_the_answerer_is_an_instance(train, truth):
    its = questions_for(NAMES)
    for asked in ([], its[:1], [*its[1:], its[0][:3]], [()] * 10):
        with pytest.raises(ParameterError, match=r"\Aasked: must have as many questions, one at least, for each of 10"):
            cross_examine(truth.data, NAMES, oracle(train, truth.data), asked=asked)
    with pytest.raises(ParameterError, match=r"\Aanswerer=[^\n]*: must be an Answerer; the class is there"):
        cross_examine(truth.data, NAMES, RecognizerAnswerer)
    with pytest.raises(ParameterError, match=r"\Aclass_names='cat': must be a list of words\Z"):
        questions_for("cat")


# Noise


def test_noisy_sets_have_the_wrong_labels_that_they_say(train, truth):
    sets = noisy_sets(train, truth, NAMES, 0.4, 0)
    for name, (data, wrong) in sets.items():
        changed = data.labels != train.labels
        assert torch.equal(wrong, changed | truth.is_poisoned if name == "hybrid" else changed), name
    assert sets["symmetric"][1].double().mean() == pytest.approx(0.4, abs=0.03)
    assert sets["asymmetric"][1].double().mean() == pytest.approx(0.2, abs=0.03)  # five of the ten classes
    assert all(sets["hybrid"][1][truth.is_poisoned])


# The image recogniser


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    return RecognizerAnswerer(tmp_path_factory.mktemp("answers") / "seen.sqlite")


def test_the_recognizer_answers_the_same_from_its_cache(recognizer, train, monkeypatch):
    texts = [[question.text for question in questions_about(name)] for name in ("cat", "truck")]
    once = recognizer.answer(train.images[:2], texts)
    assert [len(answers) for answers in once] == [6, 6]
    assert once[0][0].count(",") == 0 and once[0][1].count(",") == 2
    assert {text for answers in once for text in answers[2:]} <= {"Yes.", "No."}
    monkeypatch.setattr(recognizer, "_look", None)
    assert recognizer.answer(train.images[:2], texts) == once


def test_the_recognizer_says_what_it_is_and_what_it_cannot_see(recognizer, train):
    assert "not a multimodal language model" in recognizer.name
    with pytest.raises(ParameterError, match="three channels"):
        recognizer.answer(train.images[:1, :1], [[GENERAL[0]]])
    with pytest.raises(ParameterError, match="does not know this question"):
        recognizer.answer(train.images[:1], [["Is it warm?"]])


def test_its_probabilities_are_a_softmax_and_a_blind_guess_says_no(recognizer):
    gray = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    assert recognizer.probabilities(gray).sum() == pytest.approx(1, abs=0.01)
    chances, classes = torch.full((1000,), 1 / 1000), classes_of("404-405, 812")
    assert int(classes.sum()) == 3 and not chances[classes].sum() > 3 / 1000 + 1e-9


def test_an_altered_file_of_weights_is_refused(tmp_path, monkeypatch):
    assert sum(p.numel() for p in EfficientNetLite().parameters()) == 4_631_000  # 4.65 M, BatchNorm folded in
    damaged = tmp_path / "assets" / WEIGHTS.name
    damaged.parent.mkdir()
    content = bytearray(WEIGHTS.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr("bdlib.defenses.vdc.answerers.efficientnet.WEIGHTS", damaged)
    with pytest.raises(RuntimeError, match="restore it from the repository"):
        load_recognizer()
