"""A GPU that is not there: tensors that call themselves `cuda:0` and are computed on the CPU.

They refuse what a GPU refuses: to meet tensors of the CPU, to be drawn by a generator of the CPU, to be read as an
array. Under autocast the same operations run in half precision. What this cannot show is speed, memory, kernels that
round otherwise, and what torch.compile makes of it all.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from bdlib.experiments import needs, parameters

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
HALF = {  # what autocast runs in half precision, and what in single; the rest takes what it is given
    F.conv2d, F.conv_transpose2d, F.linear, torch.conv2d, torch.matmul, torch.mm, torch.bmm, torch.addmm,
    Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm,
}  # fmt: skip
SINGLE = {
    F.cross_entropy, F.nll_loss, F.softmax, F.log_softmax, F.kl_div, F.mse_loss, F.l1_loss, F.normalize, F.softplus,
    F.cosine_similarity, torch.softmax, torch.log_softmax, torch.cdist, torch.norm, torch.exp, torch.log, torch.pow,
    torch.sum, torch.cumsum, torch.prod, Tensor.softmax, Tensor.log_softmax, Tensor.norm, Tensor.exp, Tensor.log,
    Tensor.pow, Tensor.__pow__, Tensor.sum, Tensor.cumsum, Tensor.prod,
}  # fmt: skip
DRAWS = ("bernoulli", "multinomial", "normal", "rand", "random", "uniform")


class OnGPU(Tensor):
    """A shell without data, which Python takes for a GPU's tensor; `inner` holds the numbers."""

    inner: Tensor
    device = GPU  # type: ignore[assignment]
    is_cuda = True  # type: ignore[assignment]
    is_meta = False  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnGPU":
        shell = torch.empty_strided(inner.shape, inner.stride(), dtype=inner.dtype, device="meta")
        made = Tensor._make_subclass(cls, shell, False, device_for_backend_keys=GPU)
        made.inner = inner
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = OnGPU(self.inner.clone()).requires_grad_(self.requires_grad)
        if isinstance(self, nn.Parameter):
            copied = nn.Parameter(copied, self.requires_grad)
        if self.grad is not None:
            copied.grad = self.grad.__deepcopy__(memo)
        return memo.setdefault(id(self), copied)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGPU({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


def inside(value: Any) -> Any:
    return value.inner if isinstance(value, OnGPU) else value


def is_stranger(value: Any) -> bool:
    """Whether this is a tensor of the CPU that a GPU does not take; it does take single numbers."""
    return isinstance(value, Tensor) and not isinstance(value, OnGPU) and value.dim() > 0


def refuse(name: str, args: Any, kwargs: dict[str, Any], on_gpu: bool) -> None:
    """Raise RuntimeError, as a GPU does, where an operation mixes devices."""
    leaves = tree_leaves((args, kwargs))
    if on_gpu and name.startswith(DRAWS) and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{name}: expected a generator of cuda:0, found one of cpu")
    if name in ("copy_", "_to_copy") or not any(isinstance(leaf, OnGPU) for leaf in leaves):
        return
    if "index" in name and "indices" not in kwargs and isinstance(args[0], OnGPU) and isinstance(args[1], list | tuple):
        leaves = tree_leaves(args[2:])  # a GPU's tensor may be indexed by the CPU's, not the reverse
    if any(map(is_stranger, leaves)):
        raise RuntimeError(f"{name}: expected all tensors on one device, found cuda:0 and cpu")


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation of PyTorch, on the inner tensors; what a GPU would return comes back as `OnGPU`."""
    name = function._schema.name.split("::")[1]
    held = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, OnGPU)]
    on_gpu = bool(held)
    if name == "copy_":
        on_gpu = isinstance(args[0], OnGPU)
    elif kwargs.get("device") is not None:
        on_gpu = torch.device(kwargs["device"]).type in ("cuda", "meta")  # PyTorch's C++ sees the shell's device
    refuse(name, args, kwargs, on_gpu)
    there = kwargs | ({"device": CPU} if kwargs.get("device") is not None else {})
    result = function(*tree_map(inside, args), **tree_map(inside, there))
    if name == "_to_copy" and result.data_ptr() in {leaf.inner.data_ptr() for leaf in held}:
        result = result.clone()
    shells = {id(leaf.inner): leaf for leaf in held}

    def outside(value: Any) -> Any:
        if not isinstance(value, Tensor) or not on_gpu:
            return value
        return shells.get(id(value)) if id(value) in shells else OnGPU(value)

    result = tree_map(outside, result)
    return return_and_correct_aliasing(function, args, kwargs, result) if held and on_gpu else result


class Operations(TorchDispatchMode):
    """Catches what makes tensors out of nothing, too."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


class Calls(TorchFunctionMode):
    """What PyTorch does before its operations: names of devices, constructors, assignment, autocast."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tuple(map(numbered, args)), {name: numbered(value) for name, value in (kwargs or {}).items()}
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") == GPU:
            return function(*args, **{**kwargs, "device": CPU}).to(GPU)
        if args and isinstance(args[0], OnGPU):
            if function is Tensor.tolist:
                return args[0].detach().inner.tolist()
            if function is Tensor.__format__ and args[0].dim() == 0:
                return format(args[0].item(), args[1])
            if function is Tensor.__setitem__:
                return assign(*args)
        if torch.is_autocast_enabled("cuda") and any(isinstance(arg, OnGPU) for arg in args):
            dtype = torch.bfloat16 if function in HALF else torch.float32 if function in SINGLE else None
            args = tuple(cast(arg, dtype) for arg in args)
        return function(*args, **kwargs)


def numbered(value: Any) -> Any:
    """`cuda` as `cuda:0`, which a build without CUDA cannot work out by itself."""
    is_name = isinstance(value, torch.device | str) and str(value) == "cuda"
    return GPU if is_name else value


def cast(value: Any, dtype: torch.dtype | None) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(dtype) if floating and dtype is not None and value.dtype != dtype else value


def assign(tensor: OnGPU, index: Any, value: Any) -> None:
    """`tensor[index] = value`, in autograd's sight only where the value has a gradient."""
    if is_stranger(value):
        raise RuntimeError("__setitem__: expected all tensors on one device, found cuda:0 and cpu")
    if isinstance(value, Tensor) and torch.is_grad_enabled() and (tensor.requires_grad or value.requires_grad):
        tensor.index_put_(index if isinstance(index, tuple) else (index,), value)
    else:
        tensor.inner[tree_map(inside, index)] = inside(value)


@contextmanager
def pretended() -> Iterator[None]:
    """Where PyTorch finds a GPU with bfloat16. Make everything inside: models and data of before stay on the CPU."""
    facts: dict[str, object] = {
        "is_available": True, "is_bf16_supported": True, "get_device_name": "pretended", "max_memory_allocated": 1,
        "synchronize": None, "reset_peak_memory_stats": None, "_lazy_init": None,
    }  # fmt: skip
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    with ExitStack() as stack:
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        for name, fact in facts.items():
            stack.enter_context(patch.object(torch.cuda, name, telling(fact)))
        stack.enter_context(patch.object(torch, "compile", lambda model, **_: model))
        stack.callback(needs._built.cache_clear)  # its networks would pretend outside as well
        stack.enter_context(patch.object(parameters, "check_defense", telling(None)))  # needs a meta device of its own
        stack.enter_context(Calls())
        stack.enter_context(Operations())
        yield


def telling(fact: object) -> Callable[..., object]:
    return lambda *_, **__: fact
