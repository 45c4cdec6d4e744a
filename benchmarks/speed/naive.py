"""The step of DeepMerge II (mmd + fisher,entropy) as its formulas read, one after another and row by row.

This is the baseline of the speed benchmark: three broadcast distance arrays [B, B, D], a kernel at a time, a
Python loop over samples for the Fisher scatter, an optimiser that steps one parameter after another, and
values read back in every step.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datk_discrepancy.mmd import BANDWIDTHS


def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Mean over all pairs of the sum of kernels, by broadcasting."""
    distances = (x[:, None, :] - y[None, :, :]).pow(2).sum(dim=2)
    return sum(torch.exp(-distances / (2 * s)) for s in BANDWIDTHS["fixed"]).mean()


def mmd(source: Tensor, target: Tensor) -> Tensor:
    """Biased squared MMD of features [B, D]."""
    return mean_kernel(source, source) + mean_kernel(target, target) - 2 * mean_kernel(source, target)


def fisher(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Trace ratio of features [B, D] and centres [K, D], sample by sample."""
    within = torch.zeros((), device=features.device)
    for row, label in zip(features, labels, strict=True):
        within = within + (row - centres[label]).pow(2).sum().clamp(1e-12, 1e12)
    between = torch.zeros((), device=features.device)
    for centre in centres:
        between = between + (centre - centres.mean(dim=0)).pow(2).sum()
    return 0.01 * within / between


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions."""
    p = F.softmax(logits, dim=1)
    return -(p * torch.log(p.clamp_min(1e-6))).sum(dim=1).mean()


class Network(nn.Module):
    """The network, layer by layer as in the paper."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 5, padding=2), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv3, self.norm3 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.fc1, self.fc2, self.fc3 = nn.Linear(2592, 64), nn.Linear(64, 32), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        features = F.max_pool2d(F.relu(self.norm3(self.conv3(x))), 2).flatten(1)
        return features, self.fc3(F.relu(self.fc2(F.relu(self.fc1(features)))))


class NaiveStep:
    """One step on the same images every time; returns the value of the loss."""

    def __init__(self, source: Tensor, labels: Tensor, target: Tensor) -> None:
        self.source, self.labels, self.target = source, labels, target
        self.network = Network().to(source.device)
        self.centres = nn.Parameter(torch.randn(2, 2592, device=source.device))
        self.optimizer = torch.optim.Adam(
            [{"params": self.network.parameters()}, {"params": [self.centres], "lr": 1e-2}],
            lr=1e-3,
            betas=(0.7, 0.8),
            weight_decay=1e-4,
            amsgrad=True,
            foreach=False,
        )

    def __call__(self) -> float:
        """Forward, backward, update."""
        self.optimizer.zero_grad(set_to_none=False)
        features, logits = self.network(torch.cat([self.source, self.target]))
        n = len(self.source)
        loss = F.cross_entropy(logits[:n], self.labels) + mmd(features[:n], features[n:])
        loss = loss + fisher(features[:n], self.labels, self.centres) + 0.05 * entropy(logits)
        loss.backward()
        self.optimizer.step()
        return loss.item()
