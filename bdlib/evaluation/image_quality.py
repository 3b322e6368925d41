"""How well a trigger hides: peak signal-to-noise ratio, structural similarity, and the spectrum of what it adds."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bdlib.checks import ParameterError, checked, needs
from bdlib.types import Images

LIMIT = 100.0  # decibels, of images that are equal
WINDOW = 11  # pixels, of the structural similarity
LARGEST = 10.0  # of a pixel's absolute values; what is beyond was meant as 0 to 255


def require_pair(images: Images, changed: Images, least: int = 1) -> None:
    """Raise ParameterError unless both are finite images of one shape, at least `least` pixels high and wide."""
    if images.shape != changed.shape or min(images.shape) < 1 or min(images.shape[2:]) < least:
        shapes = f"{tuple(images.shape)} and {tuple(changed.shape)}"
        raise ParameterError(f"changed: must have the images' shape, from {least} pixels on; they have {shapes}")
    for name, each in (("images", images), ("changed", changed)):
        if not each.abs().max() <= LARGEST:  # false for NaN
            raise ParameterError(f"{name}: must be pixels in [0, 1], not up to {each.abs().max():g}")


@checked
@needs(require_pair)
def psnr(images: Images, changed: Images) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio of each image in decibels, higher for smaller changes; at most LIMIT."""
    error = (images - changed).double().square().mean((1, 2, 3))
    return (-10 * error.clamp(min=1e-10).log10()).clamp(max=LIMIT)


@checked
@needs(lambda images, changed: require_pair(images, changed, WINDOW))
def ssim(images: Images, changed: Images) -> Float[Tensor, " n"]:
    """Mean structural similarity of each image, at most 1. Wang et al., IEEE Transactions on Image Processing 2004.

    Means, variances and covariance under a Gaussian window of 11 x 11 pixels and deviation 1.5, where it fits wholly
    into the image; constants (0.01)^2 and (0.03)^2 for pixels in [0, 1]; mean over places and channels.
    """
    x, y = images.double(), changed.double()
    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x = local_mean(x * x) - mean_x**2
    variance_y = local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    apart = (mean_x**2 + mean_y**2 + 0.01**2) * (variance_x + variance_y + 0.03**2)
    return (alike / apart).mean((1, 2, 3))


def local_mean(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c _ _"]:
    """The Gaussian-weighted mean around every place whose window lies inside the image."""
    offsets = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * 1.5**2))
    weights = weights / weights.sum()
    flat = images.flatten(0, 1)[:, None]
    smooth = F.conv2d(F.conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return smooth.unflatten(0, images.shape[:2])[:, :, 0]


@checked
def spectrum(residual: Images) -> Float[Tensor, "h w"]:
    """Mean magnitude of the Fourier transform of residuals over images and channels, frequency zero in the middle."""
    return torch.fft.fftshift(torch.fft.fft2(residual).abs().mean((0, 1)))
