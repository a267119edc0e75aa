"""A user's folder: a trained three-exit network in torch, and data that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.exporter.standins import MSDNET, save_checkpoint, write_standin
from tests.support.distributions import install_documented_criterion

NET = '''
"""A three-exit network for 8x8 digits."""

from pathlib import Path

import torch
from torch import nn


def block(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, padding=1), nn.ReLU())


def head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 10))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([block(1, 16), block(16, 48), block(48, 96)])
        self.heads = nn.ModuleList([head(16), head(48), head(96)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        logits = []
        for body, exit_head in zip(self.blocks, self.heads):
            x = body(x)
            logits.append(exit_head(x))
        return logits


def make_net() -> Net:
    net = Net()
    trained = Path(__file__).parent / "net.pt"
    if trained.exists():
        net.load_state_dict(torch.load(trained, weights_only=True))
    return net.eval()
'''


def _train(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    import torch

    module: dict[str, object] = {"__file__": str(folder / "net.py"), "__name__": "net"}
    exec(compile(NET, "net.py", "exec"), module)
    torch.manual_seed(0)
    net = module["make_net"]().train()  # type: ignore[operator]
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(12):
        for part in torch.split(torch.randperm(len(inputs)), 64):
            optimiser.zero_grad()
            exits = net(inputs[part])
            loss = torch.stack([torch.nn.functional.cross_entropy(z, labels[part]) for z in exits]).sum()
            torch.autograd.backward(loss)
            optimiser.step()
    torch.save(net.state_dict(), folder / "net.pt")


@pytest.fixture(scope="session")
def user_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.py, net.pt, calibration.npz, test.npz, new.npz, of scikit-learn's digits; a criterion of another package; a published network."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("user")
    digits = load_digits()
    x = (digits.images[:, None] / 16).astype(np.float32)
    y = digits.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    (folder / "net.py").write_text(NET)
    _train(folder, x[order[:700]], y[order[:700]])
    for name, part in (("calibration", order[700:1100]), ("test", order[1100:1400]), ("new", order[1400:1420])):
        np.savez(folder / f"{name}.npz", x=x[part], y=y[part])
    save_checkpoint("msdnet", MSDNET, write_standin("msdnet", folder / "MSDNet-PyTorch"), folder / "model.pth")
    return install_documented_criterion(folder)
