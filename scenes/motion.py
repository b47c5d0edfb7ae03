"""Where the pixels of frames look in a reference frame: shifts, similarities, affine maps, homographies, displacements.

Points are (x, y) in low-res pixels, columns right and rows down; pixel (row i, column j) of a frame has its centre at
(j + 0.5, i + 0.5). A matrix takes a frame's point to the point of the reference frame that it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

__all__ = ["MODELS", "Motion", "basis", "between", "richer_models", "simpler_models"]

# numbers of each motion model, the simplest first
MODELS = {"shift": 2, "similarity": 4, "affine": 6, "homography": 8}

# rounds in which the inverse of a displacement is found: each leaves what its slope, at most 0.5, has of the error
FIXED_POINT_STEPS = 12


def richer_models(model: str) -> list[str]:
    """Motion models of more numbers, the next first.

    Examples
    --------
    >>> richer_models("shift")
    ['similarity', 'affine', 'homography']
    """
    names = list(MODELS)
    return names[names.index(model) + 1 :]


def simpler_models(model: str) -> list[str]:
    """Motion models of fewer numbers, the next first.

    Examples
    --------
    >>> simpler_models("affine")
    ['similarity', 'shift']
    """
    names = list(MODELS)
    return names[: names.index(model)][::-1]


def basis(x: Tensor, y: Tensor, size: tuple[int, int], model: str) -> tuple[Tensor, Tensor]:
    """Moves along x and along y [.., n_numbers] of points of the reference frame by each number of a motion model.

    In units of half the frame's width from its middle, a point (x, y) moves by (1, 0) and (0, 1); similarity also by
    (x, y) and (-y, x); affine instead by (x, 0), (y, 0), (0, x), (0, y); homography also by (x x, x y), (x y, y y), to
    first order.

    Parameters
    ----------
    x, y : Tensor
        Points in low-res pixels, of equal shape.
    size : (int, int)
        Width and height of the reference frame.
    model : {"shift", "similarity", "affine", "homography"}
    """
    width, height = size
    x, y = 2 * x / width - 1, (2 * y - height) / width
    one, none = torch.ones_like(x), torch.zeros_like(x)
    if model == "similarity":
        return torch.stack([one, none, x, -y], -1), torch.stack([none, one, y, x], -1)
    along_x = [one, none, x, y, none, none, x * x, x * y]
    along_y = [none, one, none, none, x, y, x * y, y * y]
    n = MODELS[model]
    return torch.stack(along_x[:n], -1), torch.stack(along_y[:n], -1)


def _through(matrix: Tensor, points: Tensor) -> Tensor:
    """Points [.., 2] carried by a matrix [3, 3]."""
    there = torch.cat([points, torch.ones_like(points[..., :1])], -1) @ matrix.T
    return there[..., :2] / there[..., 2:]


def _about(linear: Tensor, middle: Tensor, there: Tensor) -> Tensor:
    """Matrices [n, 3, 3] with a linear part [n, 2, 2] that take a point [2] to others [n, 2]."""
    matrices = torch.eye(3, dtype=torch.float64).repeat(len(linear), 1, 1)
    matrices[:, :2, :2] = linear
    matrices[:, :2, 2] = there - linear @ middle
    return matrices


def between(moves: Tensor, points: Tensor) -> Tensor:
    """Values [.., 2] of a displacement [height, width, 2] of a frame's pixels at points [.., 2] of it, float64."""
    height, width = moves.shape[:2]
    # grid_sample counts from -1 to 1 over the whole extent
    at = 2 * points / torch.tensor([width, height], dtype=points.dtype) - 1
    field = moves.double().cpu().permute(2, 0, 1)[None]
    found = grid_sample(field, at.view(1, 1, -1, 2), padding_mode="border", align_corners=False)
    return found[0, :, 0].T.view(points.shape)


@dataclass(frozen=True)
class Motion:
    """The motion of each frame against the reference.

    Parameters
    ----------
    matrices : Tensor, shape (n_frames, 3, 3), float64
        Homographies from frame points to reference points.
    model : {"shift", "similarity", "affine", "homography"}
        The simplest motion model that holds them.
    displacement : Tensor, shape (n_frames, height, width, 2), float32, optional
        By how much each pixel of the frames looks elsewhere than its matrix says, (dx, dy) in low-res pixels of the
        reference; None: nowhere. :meth:`looks_at` adds it; points (:meth:`seen`, :meth:`reach`) go by the matrix alone.

    Examples
    --------
    >>> motion = Motion.of_shifts(torch.tensor([[0.0, 0.0], [0.5, -0.25]]))
    >>> motion.shifts[1].tolist(), motion.displacements((8, 6))[1].tolist()
    ([0.5, -0.25], [0.5, -0.25])
    """

    matrices: Tensor
    model: str = "shift"
    displacement: Tensor | None = None

    def __post_init__(self) -> None:
        if self.matrices.ndim != 3 or self.matrices.shape[1:] != (3, 3) or self.model not in MODELS:
            raise ValueError(
                f"a motion has matrices [n_frames, 3, 3] and a model of {', '.join(MODELS)}; got "
                f"{tuple(self.matrices.shape)} and {self.model!r}"
            )
        moves = self.displacement
        if moves is not None and (moves.ndim != 4 or moves.shape[0] != len(self.matrices) or moves.shape[3] != 2):
            raise ValueError(f"a displacement is [{len(self.matrices)}, height, width, 2]; got {tuple(moves.shape)}")

    @classmethod
    def of_shifts(cls, shifts: Tensor) -> Motion:
        """Of (dx, dy) [n_frames, 2] in low-res pixels."""
        if shifts.ndim != 2 or shifts.shape[1] != 2:
            raise ValueError(f"shifts must be [n_frames, 2]; got {tuple(shifts.shape)}")
        matrices = torch.eye(3, dtype=torch.float64).repeat(len(shifts), 1, 1)
        matrices[:, :2, 2] = shifts
        return cls(matrices)

    @classmethod
    def of_matrices(cls, matrices: Tensor) -> Motion:
        """Of homographies [n_frames, 3, 3] of any scale, by the simplest model that holds them."""
        matrices = matrices.double() / matrices[:, 2:, 2:]
        if (matrices[:, 2, :2] != 0).any():
            return cls(matrices, "homography")
        a, b, c, d = matrices[:, :2, :2].flatten(1).T
        if (matrices[:, :2, :2] == torch.eye(2, dtype=torch.float64)).all():
            return cls(matrices, "shift")
        return cls(matrices, "similarity" if (a == d).all() and (b == -c).all() else "affine")

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, chosen: slice | Tensor) -> Motion:
        """Of some of the frames."""
        moves = None if self.displacement is None else self.displacement[chosen]
        return replace(self, matrices=self.matrices[chosen], displacement=moves)

    def displaced(self, displacement: Tensor | None) -> Motion:
        """The same matrices with another displacement of the pixels, or with none."""
        return replace(self, displacement=displacement)

    @property
    def shifts(self) -> Tensor:
        """(dx, dy) [n_frames, 2] of the point (0, 0), low-res pixels: of shifts, all that there is."""
        return self.matrices[:, :2, 2] / self.matrices[:, 2, 2:]

    def seen(self, points: Tensor) -> Tensor:
        """Where points [n_points, 2] of each frame look: [n_frames, n_points, 2]."""
        there = torch.cat([points, torch.ones_like(points[:, :1])], 1).double() @ self.matrices.transpose(1, 2)
        return there[..., :2] / there[..., 2:]

    def displacements(self, size: tuple[int, int]) -> Tensor:
        """How far the middle of each frame of ``size`` (width, height) is moved [n_frames, 2] (dx, dy)."""
        middle = torch.tensor([size], dtype=torch.float64) / 2
        return self.seen(middle)[:, 0] - middle

    @property
    def typical_displacement(self) -> float:
        """Low-res pixels (rms over a frame, the median frame) by which pixels look elsewhere than their matrix says."""
        if self.displacement is None:
            return 0.0
        return float(self.displacement.square().sum(-1).mean((1, 2)).sqrt().median())

    def reach(self, size: tuple[int, int]) -> float:
        """How far frames look beyond the reference frame, low-res pixels; of shifts, how far they go at most."""
        if self.model == "shift":
            return float(self.shifts.abs().max())
        width, height = size
        corners = self.seen(torch.tensor([[0, 0], [width, 0], [0, height], [width, height]], dtype=torch.float64))
        return max(0.0, float((-corners).max()), float((corners - torch.tensor([width, height])).max()))

    def looks_at(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Where each pixel looks, x and y [n_frames, height, width] in low-res pixels of the reference, float64."""
        x, y = self._looks_by_matrix(size)
        if self.displacement is None:
            return x, y
        moves = self.displacement.double().cpu()
        return x + moves[..., 0], y + moves[..., 1]

    def _looks_by_matrix(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        width, height = size
        x, y = torch.arange(width, dtype=torch.float64) + 0.5, torch.arange(height, dtype=torch.float64) + 0.5
        if self.model == "shift":
            shape = (len(self), height, width)
            dx, dy = self.shifts[:, :, None, None].unbind(1)
            return (x + dx).expand(shape), (y[:, None] + dy).expand(shape)
        a, b, c, d, e, f, g, h, i = self.matrices.flatten(1)[:, :, None, None].unbind(1)
        y = y[:, None]
        below = g * x + h * y + i
        return (a * x + b * y + c) / below, (d * x + e * y + f) / below

    def looks_from(self, index: int, points: Tensor) -> Tensor:
        """Where points [.., 2] of a frame look by its matrix alone."""
        return _through(self.matrices[index], points)

    def seen_from(self, index: int, points: Tensor) -> Tensor:
        """The points of a frame that look at ``points`` [.., 2] of the reference; of a displacement by iteration."""
        inverse = torch.linalg.inv(self.matrices[index])
        at = _through(inverse, points)
        if self.displacement is not None:
            for _ in range(FIXED_POINT_STEPS):
                at = _through(inverse, points - between(self.displacement[index], at))
        return at

    def shifted(self, moves: Tensor) -> Motion:
        """The same, then shifts of the reference frame [n_frames, 2] or [2]."""
        return replace(self, matrices=Motion.of_shifts(moves.double().expand(len(self), 2)).matrices @ self.matrices)

    def stepped(self, steps: Tensor, size: tuple[int, int]) -> Motion:
        """The same, then small steps [n_frames, n_numbers] in low-res pixels along :func:`basis`.

        A point over 1 - (g x + h y) moves, to first order, by itself times g x + h y.
        """
        width, height = size
        if steps.shape[1] == MODELS["shift"]:
            return self.shifted(steps)
        steps = steps.double() * 2 / width
        small = torch.eye(3, dtype=torch.float64).repeat(len(steps), 1, 1)
        small[:, :2, 2] = steps[:, :2]
        if steps.shape[1] == MODELS["similarity"]:
            grown, turned = steps[:, 2], steps[:, 3]
            small[:, :2, :2] += torch.stack([grown, -turned, turned, grown], -1).view(-1, 2, 2)
        else:
            small[:, :2, :2] += steps[:, 2:6].reshape(-1, 2, 2)
            small[:, 2, : steps.shape[1] - 6] = -steps[:, 6:]
        to_unit = torch.tensor([[2 / width, 0, -1], [0, 2 / width, -height / width], [0, 0, 1]], dtype=torch.float64)
        matrices = torch.linalg.inv(to_unit) @ small @ to_unit @ self.matrices
        taken = next(name for name, count in MODELS.items() if count == steps.shape[1])
        model = taken if taken in richer_models(self.model) else self.model
        return replace(self, matrices=matrices / matrices[:, 2:, 2:], model=model)

    def nearest(self, model: str, size: tuple[int, int]) -> Motion:
        """The shifts, similarities or affine maps that move the frames' corners most nearly alike (least squares)."""
        width, height = size
        points = torch.tensor([[0, 0], [width, 0], [0, height], [width, height]], dtype=torch.float64)
        seen, middle = self.seen(points), points.mean(0)
        if model == "shift":
            return Motion.of_shifts((seen - points).mean(1))
        at, there = points - middle, seen - seen.mean(1, keepdim=True)
        if model == "affine":
            # of the corners of a rectangle each axis is a column of its own
            linear = there.transpose(1, 2) @ at / at.square().sum(0)
            return Motion(_about(linear, middle, seen.mean(1)), model)
        grown = (there * at).sum((1, 2)) / at.square().sum()
        turned = (there[..., 1] * at[:, 0] - there[..., 0] * at[:, 1]).sum(1) / at.square().sum()
        linear = torch.stack([grown, -turned, turned, grown], -1).view(-1, 2, 2)
        return Motion(_about(linear, middle, seen.mean(1)), "similarity")

    def displacement_seen_from(self, index: int) -> Tensor:
        """By how much what looks at a reference pixel's centre lies elsewhere than by matrix [height, width, 2]."""
        assert self.displacement is not None
        height, width = self.displacement.shape[1:3]
        x, y = torch.arange(width, dtype=torch.float64) + 0.5, torch.arange(height, dtype=torch.float64) + 0.5
        centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        straight = _through(torch.linalg.inv(self.matrices[index]), centres)
        return (self.seen_from(index, centres) - straight).float()

    def relative_to(self, reference: int) -> Motion:
        """The same on the axes of one of the frames, which then stands still."""
        if self.displacement is not None:
            return self._relative_to_displaced(reference)
        if self.model == "shift":
            return Motion.of_shifts(self.shifts - self.shifts[reference])
        matrices = torch.linalg.inv(self.matrices[reference]) @ self.matrices
        matrices[reference] = torch.eye(3, dtype=torch.float64)
        return replace(self, matrices=matrices / matrices[:, 2:, 2:])

    def _relative_to_displaced(self, reference: int) -> Motion:
        """Each pixel finds the point of the reference frame that looks where it does."""
        assert self.displacement is not None
        height, width = self.displacement.shape[1:3]
        size, straight = (width, height), self.displaced(None).relative_to(reference)
        at = self.seen_from(reference, torch.stack(self.looks_at(size), -1))
        moves = at - torch.stack(straight.looks_at(size), -1)
        moves[reference] = 0
        return straight.displaced(moves.to(self.displacement))

    def between_parts(self, of_frames: Tensor, of_reference: Tensor) -> Motion:
        """The motion of parts of the frames against a part of the reference, given by their corners (x, y).

        By the matrices alone: what a displacement is on other pixels, only their cutter knows.

        Parameters
        ----------
        of_frames : Tensor, shape (n_frames, 2) or (2,)
            Corner of the part in each frame.
        of_reference : Tensor, shape (2,)
            Corner of the part of the reference frame.
        """
        of_frames = of_frames.double().expand(len(self), 2)
        if self.model == "shift":
            return Motion.of_shifts(self.shifts + of_frames - of_reference)
        into = Motion.of_shifts(of_frames).matrices
        return replace(self, matrices=self.matrices @ into, displacement=None).shifted(-of_reference.double())
