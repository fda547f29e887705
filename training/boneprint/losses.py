"""The losses of the neural boneprint that are not one squared difference."""

from __future__ import annotations

from typing import cast

import torch
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor, nn
from torch.nn import functional


class PairContrast(nn.Module):
    """Each of (B, D) and its positive of (B, D) against everybody else's of both, by cosine and ``temperature``.

    NT-Xent (T. Chen et al., "A simple framework for contrastive learning", ICML 2020).
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self._loss = NTXentLoss(temperature=temperature)

    def forward(self, ones: Tensor, others: Tensor) -> Tensor:
        persons = torch.arange(len(ones), device=ones.device)
        return cast(Tensor, self._loss(torch.cat([ones, others]).float(), torch.cat([persons, persons])))


def discrepancy(ones: Tensor, others: Tensor) -> Tensor:
    """How differently two sets of vectors (B, D) are distributed: 0 where they are one set.

    Squared maximum mean discrepancy with Gaussian kernels of five widths about the mean distance (A. Gretton et al., "A
    kernel two-sample test", JMLR 13, 2012), the biased estimate, which is never negative.
    """
    both = torch.cat([ones, others]).float()
    squared = (both[:, None] - both[None, :]).square().sum(-1)
    count = len(both)
    width = squared.detach().sum() / max(1, count * (count - 1)) + 1e-8
    kernel = torch.stack([torch.exp(-squared / (width * 2.0**power)) for power in range(-2, 3)]).mean(0)
    sign = torch.cat([kernel.new_full((len(ones),), 1 / len(ones)), kernel.new_full((len(others),), -1 / len(others))])
    return sign @ kernel @ sign


def pooled(latents: Tensor) -> Tensor:
    """(B, C, h, w) to (B, 2 C): mean and deviation of every channel."""
    found = latents.float()
    return torch.cat([found.mean((2, 3)), found.flatten(2).std(2, correction=0)], dim=1)


def judged_real(judgement: Tensor, real: bool) -> Tensor:
    """Least squares from what an adversary should say (X. Mao et al., "Least squares GAN", ICCV 2017)."""
    return functional.mse_loss(judgement.float(), torch.full_like(judgement, float(real)).float())
