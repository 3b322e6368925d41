"""Images as a vision-language model gets them."""

import base64
import io
from typing import Any

from PIL import Image
from torch import Tensor

SIZE = 224  # pixels; smaller images are enlarged (bicubic), as 32 pixels are less than these models were trained on


def data_uri(image: Tensor) -> str:
    """A stored image as a PNG in a data URI, enlarged to 224 pixels where it is smaller.

    Example: `data_uri(images[0])[:22]` is "data:image/png;base64,"
    """
    pixels: Any = image.cpu().permute(1, 2, 0).squeeze(2).numpy()
    picture = Image.fromarray(pixels)
    if max(picture.size) < SIZE:
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    picture.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
