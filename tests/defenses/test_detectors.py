"""The correctness checks of the detectors: closed forms, what they may not depend on, and that they read no truth."""

import inspect
from math import log

import pytest
import torch
from torch import nn
from toy_task import toy

from bdlib.attacks.poisoning import poison
from bdlib.checks import ParameterError, keywords
from bdlib.data.images import ImageSet
from bdlib.data.passes import count_passes
from bdlib.defenses.detectors import DETECTORS
from bdlib.defenses.detectors.activation_clustering import activation_clustering, cluster
from bdlib.defenses.detectors.detection import features
from bdlib.defenses.detectors.spectral_signatures import spectral_scores, spectral_signatures
from bdlib.defenses.detectors.strip import entropies, entropy, strip
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.evaluation.detection import auroc, rates
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog, Pixels

FORBIDDEN = ("trigger", "target", "poison", "test", "flag", "attack", "asr")
BY_FEATURES = ["spectral_signatures", "activation_clustering"]
FILTERS = [*BY_FEATURES, "confident_learning"]


class Told(nn.Module):
    """A network that says the same of every image, or what its first pixel tells it."""

    def __init__(self, logits, reads=False):
        super().__init__()
        self.logits, self.reads = nn.Parameter(torch.tensor(logits)), reads

    def forward(self, images):
        rows = self.logits.expand(len(images), -1)
        return rows + 50 * nn.functional.one_hot((images[:, 0, 0, 0] > 0.9).long(), len(self.logits)) * self.reads


def gaussians(few, many=90, distance=40.0):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(few + many, 12, generator=generator, dtype=torch.float64)
    points[:few, 3] += distance
    return points


def asked(key):
    return [p.name for p in inspect.signature(DETECTORS[key]).parameters.values() if p.kind != p.KEYWORD_ONLY]


def call(key, model, poisoned, clean, **settings):
    return DETECTORS[key](model, *([poisoned] if key in FILTERS else [clean, poisoned.images[:40]]), **settings)


@pytest.mark.parametrize("key", DETECTORS)
def test_its_signature_admits_nothing_of_the_attack(key):
    parameters = inspect.signature(DETECTORS[key]).parameters
    types = {"model": nn.Module, "poisoned": ImageSet, "clean": ImageSet, "queries": Pixels}
    assert asked(key) == (["model", "poisoned"] if key in FILTERS else ["model", "clean", "queries"])
    assert all(parameters[name].annotation == types[name] for name in asked(key))
    known = [name for name in parameters if name not in asked(key)]
    assert not [name for name in known if any(word in name for word in FORBIDDEN)]


@pytest.mark.parametrize("key", DETECTORS)
def test_it_leaves_its_input_alone_and_repeats_itself(key, backdoored, poisoned, clean):
    images, labels = poisoned.data.images.clone(), poisoned.data.labels.clone()
    before = {name: value.clone() for name, value in backdoored.state_dict().items()}
    torch.manual_seed(1)
    once = call(key, backdoored, poisoned.data, clean)
    torch.manual_seed(2)
    twice = call(key, backdoored, poisoned.data, clean)
    assert torch.equal(once.suspicion, twice.suspicion) and torch.equal(once.flagged, twice.flagged)
    assert torch.equal(images, poisoned.data.images) and torch.equal(labels, poisoned.data.labels)
    assert all(torch.equal(value, before[name]) for name, value in backdoored.state_dict().items())
    assert once.suspicion.isfinite().all() and len(once.suspicion) == len(once.flagged)


@pytest.mark.parametrize(("key", "name"), [(key, name) for key in DETECTORS for name in keywords(DETECTORS[key])])
def test_every_keyword_refuses_bad_values_in_one_line_that_names_it(key, name):
    for value in (float("nan"), -2, 10**10, object()):
        with pytest.raises(ParameterError, match=rf"\A{name}=[^\n]*: must be [^\n]*\Z"):
            DETECTORS[key](*[None for _ in asked(key)], **{name: value})


@pytest.mark.parametrize("key", BY_FEATURES)
def test_a_few_poisoned_images_are_found(key, make_model, trigger):
    """At a tenth of the target class, as the papers assume; the network is the toy task's, trained on this set."""
    few = poison(toy(1000, seed=0), trigger, target_label=0, poison_rate=0.03, seed=0)
    model = train(make_model(), few.data, Schedule(4, 0.05, batch_size=64, augmentation=None))
    target = few.data.labels == 0
    detection = call(key, model, few.data, None)
    assert auroc(detection.suspicion[target], few.is_poisoned[target]) > 0.9
    scores = rates(detection.flagged, few.is_poisoned)
    assert scores["tpr"] > 0.6 > 0.5 >= scores["fpr"]


def test_spectral_scores_ignore_shift_and_rotation_and_sum_to_the_first_singular_value():
    vectors = gaussians(10)
    scores = spectral_scores(vectors)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    assert torch.allclose(scores, spectral_scores((vectors + 7) @ turn), rtol=1e-9)
    assert scores.sum() == pytest.approx((torch.linalg.svdvals(vectors - vectors.mean(0))[0] ** 2).item())
    assert scores[:10].min() > scores[10:].max()
    assert not torch.allclose(spectral_scores(vectors, variant="released"),
                              spectral_scores(vectors + 7, variant="released"))  # fmt: skip


def test_spectral_signatures_removes_the_stated_share_of_every_class(backdoored, poisoned):
    flagged = spectral_signatures(backdoored, poisoned.data, expected_share=0.05).flagged
    for label in range(4):
        members = poisoned.data.labels == label
        assert flagged[members].sum() == round(0.075 * members.sum().item())
    most = spectral_signatures(backdoored, poisoned.data, expected_share=0.5).flagged
    assert most.double().mean() <= 0.5


def test_clustering_finds_two_separated_gaussians_exactly():
    nearness, in_smaller, silhouette = cluster(gaussians(10), components=10, seed=0)
    assert in_smaller.tolist() == [True] * 10 + [False] * 90
    assert (nearness[:10] > 0).all() and (nearness[10:] < 0).all() and silhouette > 0.5


def test_clustering_of_equal_vectors_flags_nothing():
    nearness, in_smaller, silhouette = cluster(torch.ones(5, 3, dtype=torch.float64), components=10, seed=0)
    assert not nearness.any() and not in_smaller.any() and silhouette == -1


def test_the_names_of_classes_do_not_matter_to_clustering(backdoored, poisoned):
    other = ImageSet(poisoned.data.images, 3 - poisoned.data.labels)
    once, twice = (activation_clustering(backdoored, data).flagged for data in (poisoned.data, other))
    assert torch.equal(once, twice)


def test_the_rules_of_clustering_are_ever_stricter(backdoored, poisoned):
    smaller, size, silhouette = (
        activation_clustering(backdoored, poisoned.data, rule=rule, largest_share=0.45, least_silhouette=0.3).flagged
        for rule in ("smaller", "relative_size", "silhouette")
    )
    assert (size <= smaller).all() and (silhouette <= size).all()
    assert all(smaller[poisoned.data.labels == label].any() for label in range(4))


def test_features_are_what_the_readout_reads(backdoored, clean):
    with torch.no_grad():
        logits = backdoored(clean.images[:8].float() / 255)
    assert torch.allclose(backdoored.head(features(backdoored, clean[:8]).float()), logits, atol=1e-5)


def test_the_entropy_of_known_networks():
    images = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    even, certain, one = Told([0.0] * 4), Told([0.0, 0.0, 200.0, 0.0]), Told([0.0, 1.0, 2.0, 3.0])
    assert entropies(even, images, images[:3]).tolist() == pytest.approx([log(4)] * 6)
    assert entropies(certain, images, images[:3]).tolist() == pytest.approx([0] * 6, abs=1e-6)
    assert entropies(one, images, images[:3]).tolist() == pytest.approx([entropy(one.logits[None]).item()] * 6)


def test_a_trigger_that_shows_through_every_overlay_is_refused(backdoored, clean, test_set, trigger):
    others = test_set[test_set.labels != 0]
    queries = torch.cat([others.images, apply_trigger(others.images, trigger)])
    is_triggered = torch.arange(len(queries)) >= len(others)
    detection = strip(backdoored, clean, queries, overlays=20)
    assert auroc(detection.suspicion, is_triggered) > 0.8


def test_the_threshold_is_a_quantile_of_the_clean_entropies(backdoored, clean):
    events = EventLog()
    detection = strip(backdoored, clean, clean.images, overlays=5, false_rejection_rate=0.25, on_event=events)
    assert detection.flagged.double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert events["clean_entropies"].quantile(0.25).item() == events["threshold"]


def test_a_query_costs_as_many_passes_as_there_are_overlays(backdoored, clean):
    with count_passes() as passes:
        strip(backdoored, clean, clean.images[:40], overlays=5, calibration_images=10)
    assert (passes.forward, passes.backward) == ((40 + 10) * 5, 0)


def test_both_blends_stay_inside_the_pixels_and_differ(backdoored, clean):
    added, mean = (entropies(backdoored, clean.images[:9], clean.images[:4], blend=b) for b in ("add", "mean"))
    assert not torch.allclose(added, mean)
    bright = torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    for blend in ("add", "mean"):  # white over white is white
        with torch.no_grad():
            plain = entropy(backdoored(bright.float() / 255))
        assert torch.allclose(entropies(backdoored, bright, bright, blend=blend), plain, atol=1e-5)


@pytest.mark.parametrize("queries", [torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.zeros(0, 3, 16, 16).byte()])
def test_queries_of_another_shape_are_one_line(backdoored, clean, queries):
    with pytest.raises(ParameterError, match=r"\Aqueries: must be one or more images of shape \(3, 16, 16\), not "):
        strip(backdoored, clean, queries)
