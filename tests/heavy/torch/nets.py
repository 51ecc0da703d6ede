"""This module holds the networks of the tests."""

from __future__ import annotations

from typing import Any

import lightning
import torch


class Net(torch.nn.Module):
    def __init__(self, inputs: int = 2) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.layer = torch.nn.Linear(inputs, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layer(rows)


class WithDropout(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Dropout(0.5))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layers(rows)


class WithExtraState(Net):
    def get_extra_state(self) -> Any:
        return Marker()

    def set_extra_state(self, state: Any) -> None: ...


class Marker:
    pass


class LightningNet(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layer(rows)
