"""Your own network: known by a name to VictimConfig and to everything that trains, attacks or defends by one.

Example::

    register_model("mine", lambda channels, num_classes: MyNetwork(channels, num_classes))
    victim = trained_victim(VictimConfig(model="mine"))
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bdlib.checks import ParameterError
from bdlib.data.datasets import DatasetFacts
from bdlib.data.tensor_files import bytes_of, tensors_in
from bdlib.models.networks import MODELS, Statistics, seeded
from bdlib.runtime import digest

BUILT_IN = frozenset(MODELS)


@dataclass(frozen=True)
class OwnNetwork:
    """What MODELS holds for an own network: called as the built-in ones are, it makes one that takes pixels in [0, 1].

    Raises ParameterError when the factory makes no network, or the same one twice.
    """

    name: str
    factory: Callable[[int, int], nn.Module]

    def __call__(self, channels: int, num_classes: int, mean: Statistics, std: Statistics) -> nn.Module:
        network = self.factory(channels, num_classes)
        if not isinstance(network, nn.Module):
            raise ParameterError(
                f"model={self.name!r}: its factory must make an nn.Module, not {type(network).__name__}"
            )
        if hasattr(network, "pixel_mean"):
            raise ParameterError(f"model={self.name!r}: its factory must make a new network at every call")
        network.register_buffer("pixel_mean", torch.tensor(mean)[:, None, None])
        network.register_buffer("pixel_std", torch.tensor(std)[:, None, None])
        network.register_forward_pre_hook(_normalize)
        return network

    def fitted(self, facts: DatasetFacts) -> nn.Module:
        """A new network for such data, whose lazy layers have got their sizes."""
        network = self(facts.channels, facts.num_classes, facts.mean, facts.std)
        _logits(network, facts)
        return network.train()


@torch.no_grad()
def _logits(network: nn.Module, facts: DatasetFacts) -> Any:
    """What a network gives, in evaluation mode, for two images of noise, always the same."""
    return network.eval()(_noise(facts))


@torch.enable_grad()
def _gradients(network: nn.Module, facts: DatasetFacts) -> list[float]:
    """The lengths of the weights' gradients in training mode, for the same two images; 0 where there is none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits = network.train()(_noise(facts))
    if not isinstance(logits, Tensor):
        raise TypeError(f"in training mode it gives {type(logits).__name__}")
    if logits.requires_grad:
        logits.square().sum().backward()
    return [0.0 if weight.grad is None else float(weight.grad.norm()) for weight in network.parameters()]


def _noise(facts: DatasetFacts) -> Tensor:
    shape, generator = (2, facts.channels, facts.size, facts.size), torch.Generator().manual_seed(0)
    return torch.rand(shape, generator=generator)


def _normalize(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """What goes before everything else; no layer of its own, since a Sequential runs all that it holds."""
    return (inputs[0] - module.get_buffer("pixel_mean")) / module.get_buffer("pixel_std")


def register_model(name: str, factory: Callable[[int, int], nn.Module]) -> None:
    """Make the network that ``factory(channels, num_classes)`` makes known as `name`. It holds for this process.

    The factory is called whenever a network with new weights is needed. bdlib puts the normalization by mean and
    deviation of the data in front, so that the network's own layers see normalized images of shape (n, c, h, w); they
    give logits of shape (n, num_classes). A dictionary `default_layers` on the module names the layers that methods
    use where none are given: "attention" (NAD), "polarizer" (NPD), "head" (AR, fine-pruning). What was trained is kept
    under a digest of what the network computes, and so is never taken for another network of that name. Raises
    ParameterError for a name that is taken.

    Example: ``register_model("tiny", lambda channels, classes: nn.Sequential(nn.Flatten(), nn.LazyLinear(classes)))``
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]{1,40}", name) or name in BUILT_IN:
        raise ParameterError(f"name={name!r}: must be letters, digits and _, and none of {', '.join(sorted(BUILT_IN))}")
    if not callable(factory) or isinstance(factory, nn.Module):
        raise ParameterError(f"factory={type(factory).__name__}: must be a function that makes a network")
    MODELS[name] = OwnNetwork(name, factory)


def _require_kept(network: OwnNetwork, trained: nn.Module, fresh: nn.Module, facts: DatasetFacts) -> None:
    """Raise ParameterError unless a file holds all that training has changed: `fresh` then answers as `trained` does.

    What is in no state_dict (plain attributes, buffers with persistent=False) would be lost without a word.
    """
    rule = f"model={network.name!r}: its state_dict must hold, as tensors, all that training changes"
    for name, value in trained.state_dict().items():
        if not isinstance(value, Tensor):
            raise ParameterError(f"{rule}; {name} is a {type(value).__name__}")
    try:
        fresh.load_state_dict(tensors_in(bytes_of(trained.state_dict())))
    except Exception as error:
        raise ParameterError(f"{rule}, and fails ({type(error).__name__}: {' '.join(str(error).split())})") from error
    if not torch.allclose(_logits(fresh, facts), _logits(trained, facts), atol=1e-5, equal_nan=True):
        raise ParameterError(f"{rule}; with it a new network gives other logits")


def fingerprint(network: OwnNetwork, facts: DatasetFacts) -> str:
    """A digest of an own network for such data: its layers, its weights' shapes, and what it computes from one seed:
    logits in evaluation mode, and in training mode the gradients, which show dropout and what is detached. It is made
    anew at each call, since what a factory reads may change.

    Raises ParameterError, in one line, when it cannot be made or does not give logits.
    """
    size = f"{facts.channels} x {facts.size} x {facts.size}"
    rule = f"model={network.name!r}: must take {size} images of {facts.num_classes} classes"
    try:
        net = seeded(lambda: network.fitted(facts), seed=0)
        logits = _logits(net, facts)
        gradients = _gradients(net, facts) if isinstance(logits, Tensor) else []
        second = seeded(lambda: network.fitted(facts), seed=0)
    except ParameterError:
        raise
    except Exception as error:  # from the code of its author
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ParameterError(f"{rule}, and fails ({reason})") from error
    if not isinstance(logits, Tensor) or logits.shape != (2, facts.num_classes) or not logits.is_floating_point():
        gives = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ParameterError(f"{rule}, and gives {gives} for two of them, not (2, {facts.num_classes})")
    if {id(weight) for weight in second.parameters()} & {id(weight) for weight in net.parameters()}:
        raise ParameterError(f"model={network.name!r}: its factory must make new layers at every call, two share one")
    if (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones(2), atol=1e-4):
        raise ParameterError(f"{rule}, and gives probabilities; leave out its softmax")
    _require_kept(network, net, second, facts)
    weights = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in net.state_dict().items()]
    return digest(str(net), weights, [f"{value:.3g}" for value in [*logits.flatten().tolist(), *gradients]])
