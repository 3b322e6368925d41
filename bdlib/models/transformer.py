"""The parts of a small vision transformer. Dosovitskiy et al., ICLR 2021, arXiv:2010.11929.

As in Beyer, Zhai and Kolesnikov 2022, arXiv:2205.01580, positions are sines and cosines, and the tokens are averaged.
Attention is written out, since defenses that take second derivatives need them of every part.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

Tokens = Float[Tensor, "n t d"]


class Patches(nn.Module):
    """Square patches of an image as tokens, with their places; images of any size that holds a patch."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, size, size)

    def forward(self, images: Tensor) -> Tokens:
        maps = self.conv(images)
        _, width, rows, columns = maps.shape
        return maps.flatten(2).transpose(1, 2) + places(rows, columns, width, device=maps.device)


def places(rows: int, columns: int, width: int, *, device: torch.device) -> Float[Tensor, "t d"]:
    """A vector for each place of a grid, row by row: sines and cosines of its row and of its column."""
    frequencies = 100 ** -(torch.arange(width // 4, device=device) / (width // 4))
    y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (y, x)]
    return torch.cat([function(angle) for angle in angles for function in (torch.sin, torch.cos)], dim=1)


class Attention(nn.Module):
    """Every token takes from all tokens, by how well its query fits their keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tokens) -> Tokens:
        n, t, d = tokens.shape
        parts = self.queries_keys_values(tokens).view(n, t, 3, self.heads, d // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        fit = (queries @ keys.transpose(2, 3) * (d // self.heads) ** -0.5).softmax(3)
        return self.out((fit @ values).transpose(1, 2).reshape(n, t, d))


class TransformerBlock(nn.Module):
    """Attention and a small network for each token; both normalize first and add to what comes in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tokens) -> Tokens:
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class MeanToken(nn.Module):
    """The mean of all tokens of an image."""

    def forward(self, tokens: Tokens) -> Float[Tensor, "n d"]:
        return tokens.mean(1)
