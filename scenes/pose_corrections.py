"""Small motions of cameras, found with the scene: a turn and a shift of each, and a factor of all focal lengths."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PoseCorrections", "move_cameras", "rotations"]

# angle that is added where a turn has none: its gradient is that of the smallest turns
LEAST_ANGLE = 1e-6
# share of the greatest singular value below which a way to move all cameras together is none
INDEPENDENT = 1e-6


def rotations(turns: Tensor) -> Tensor:
    """Rotation matrices [n, 3, 3] of turns [n, 3], whose length is the angle in radians (Rodrigues' formula).

    Examples
    --------
    >>> rotations(torch.tensor([[0.0, 0.0, torch.pi / 2]]))[0].round().tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    angles = (turns.square().sum(-1) + LEAST_ANGLE**2).sqrt()[:, None, None]
    cross = _cross(turns)
    identity = torch.eye(3, dtype=turns.dtype, device=turns.device)
    return identity + torch.sin(angles) / angles * cross + (1 - torch.cos(angles)) / angles.square() * cross @ cross


def move_cameras(c2w: Tensor, motions: Tensor) -> Tensor:
    """Matrices [n, 3, 4] of cameras that are turned about the world's axes and shifted, by ``motions`` [n, 6]."""
    turns, shifts = motions.split(3, dim=-1)
    return torch.cat([rotations(turns) @ c2w[:, :3, :3], c2w[:, :3, 3:] + shifts[..., None]], dim=-1)


def _cross(vectors: Tensor) -> Tensor:
    """Matrices [n, 3, 3] of the cross product with vectors [n, 3] on the left."""
    x, y, z = vectors.unbind(-1)
    none = torch.zeros_like(x)
    return torch.stack([none, -z, y, z, none, -x, -y, x, none], -1).view(-1, 3, 3)


class PoseCorrections(nn.Module):
    """A turn about the world's axes and a shift of each camera, and the logarithm of a factor of all focal lengths.

    What moves all cameras together as a similarity does, and so changes no picture, is taken out: the scene stays where
    it is, and views that were held out see it where it was.

    Parameters
    ----------
    c2w : Tensor, shape (n, 4, 4)
        Camera-to-world matrices that are corrected, float32.

    Examples
    --------
    >>> c2w = torch.eye(4).repeat(3, 1, 1)
    >>> c2w[:, :3, 3] = torch.eye(3)
    >>> corrections = PoseCorrections(c2w)
    >>> corrections.motions.data[:, 3:] = 0.01  # all shifted alike
    >>> bool((corrections.moved().abs() < 1e-6).all())
    True
    """

    def __init__(self, c2w: Tensor) -> None:
        super().__init__()
        self.c2w: Tensor
        self.together: Tensor
        self.register_buffer("c2w", c2w, persistent=False)
        self.register_buffer("together", _similarities(c2w), persistent=False)
        self.motions = nn.Parameter(torch.zeros(len(c2w), 6, device=c2w.device))
        self.log_focal = nn.Parameter(torch.zeros(1, device=c2w.device))

    @property
    def focal_factor(self) -> float:
        """What focal lengths are multiplied by."""
        return float(self.log_focal.detach().exp())

    def moved(self) -> Tensor:
        """Turn in radians and shift of each camera [n, 6]."""
        flat = self.motions.reshape(-1)
        return (flat - self.together @ (self.together.T @ flat)).view(-1, 6)

    def poses(self) -> Tensor:
        """Corrected camera-to-world matrices [n, 3, 4]."""
        return move_cameras(self.c2w, self.moved())


def _similarities(c2w: Tensor) -> Tensor:
    """Orthonormal motions [6 n, 7 or fewer] of all cameras together: turns, shifts, and growth about their middle."""
    positions = c2w[:, :3, 3].double()
    positions = positions - positions.mean(0)
    n, axes = len(positions), torch.eye(3, dtype=torch.float64, device=c2w.device)
    none = torch.zeros_like(positions)
    columns = [torch.cat([axis, torch.linalg.cross(axis, positions)], -1) for axis in (a.expand(n, 3) for a in axes)]
    columns += [torch.cat([none, axis.expand(n, 3)], -1) for axis in axes]
    columns.append(torch.cat([none, positions], -1))
    ways, sizes, _ = torch.linalg.svd(torch.stack([column.reshape(-1) for column in columns], -1), full_matrices=False)
    return ways[:, sizes > INDEPENDENT * sizes[0]].float()
