"""Which pixels and which frequencies a decision depends on: Grad-CAM, and the spectrum of the input gradient."""

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.models import evaluation_mode, require_maps
from bdlib.types import Labels

Maps = Float[Tensor, "n h w"]


@checked
def grad_cam(model: nn.Module, images: ImageSet, layer: str, classes: Labels) -> Maps:
    """Where in each image the evidence for its entry of `classes` is; in the size of the images, peak 1, none negative.

    The layer's maps, weighted by the mean gradient of the class's logit, positive part, enlarged bilinearly: Selvaraju
    et al., ICCV 2017, arXiv:1610.02391, computed by captum. Where nothing speaks for the class, the map is zero.

    Raises ParameterError for a layer that gives out no maps.

    Example: `grad_cam(model, some, "layer2", predict(model, some))`
    """
    from captum.attr import LayerGradCam

    require_maps(model, images.images, layer, parameter="layer")
    pixels = (images.images.float() / 255).requires_grad_()
    with evaluation_mode(model), torch.enable_grad():
        maps = LayerGradCam(model, model.get_submodule(layer)).attribute(
            pixels, target=classes.clone(), relu_attributions=True
        )
    assert isinstance(maps, Tensor)
    large = F.interpolate(maps.detach(), pixels.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    peaks = large.amax((1, 2), keepdim=True)
    return torch.where(peaks > 0, large / peaks.clamp(min=1e-30), torch.zeros_like(large))


@checked
def mass_inside(maps: Maps, inside: Bool[Tensor, "h w"]) -> Float[Tensor, " n"]:
    """The share of each map's sum that is inside a part of the image; that part's area where a map is zero."""
    total = maps.sum((1, 2))
    share = maps[:, inside].sum(1) / total.clamp(min=1e-30)
    return torch.where(total > 0, share, inside.float().mean().expand_as(share))


@checked
def input_gradients(model: nn.Module, images: ImageSet) -> Float[Tensor, "n c h w"]:
    """The gradient of each image's largest logit by its pixels, which are in [0, 1]."""
    pixels = (images.images.float() / 255).requires_grad_()
    with evaluation_mode(model), torch.enable_grad():
        (gradients,) = torch.autograd.grad(model(pixels).amax(1).sum(), pixels)
    return gradients


@checked
def frequency_saliency(gradients: Float[Tensor, "n c h w"]) -> Maps:
    """The magnitudes of the gradients' Fourier transforms, mean over channels, frequency zero in the middle.

    After BackdoorBench (arXiv:2206.12654), which transforms back in place of forth and takes logarithms.

    Example: `frequency_saliency(input_gradients(model, some)).mean(0)`
    """
    return torch.fft.fftshift(torch.fft.fft2(gradients.float()).abs().mean(1), dim=(1, 2))


@checked
def low_to_high(spectra: Maps, width: Annotated[int, Field(ge=1)] = 4) -> Float[Tensor, " n"]:
    """How much a spectrum leans to low frequencies: its mean over the central `width` squared, by that of the rim.

    The rim is the outermost `width` rows at the top and at the bottom, half of them each. Raises ParameterError where
    an image has fewer than twice as many rows.
    """
    _, height, across = spectra.shape
    if width * 2 > min(height, across):
        raise ParameterError(f"width={width}: must be at most half of the image, {min(height, across)} pixels")
    top, left, rim = height // 2 - width // 2, across // 2 - width // 2, max(1, width // 2)
    center = spectra[:, top : top + width, left : left + width].mean((1, 2))
    return center / torch.cat([spectra[:, :rim], spectra[:, -rim:]], 1).mean((1, 2)).clamp(min=1e-30)
