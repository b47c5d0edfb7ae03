"""Holes of a picture filled by the smoothest picture through what is known, on its pixels: a linear solve, or a few.

The energy of a picture u is the integral of grad u^T D grad u + bending |Hessian u|^2. With D = 1 and no bending it is
the membrane's (harmonic), with much bending the thin plate's (biharmonic). Edge-enhancing diffusion (Weickert 1996;
Galic et al., J. Math. Imaging Vision 31, 2008, who fill holes by it) has D = 1 along edges and less across: the picture
is smooth on either side of an edge and goes on along it. The edges are those of the picture that is sought, so a few
solves follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GridEnergy", "Smoothness", "fill", "held_out_holes"]

# unknown pixels up to which the equations are factorised; more are solved by conjugate gradients
MAX_DIRECT = 20_000
# of the residual to the right-hand side at which conjugate gradients end, and steps at most
TOLERANCE, MAX_STEPS = 1e-5, 3000
# solves with the edges of the picture before
N_SOLVES = 4
# deviation of the Gaussian that edges are seen through, pixels
BLUR = 0.7
# fraction of the known pixels that are held out at most
HELD_OUT = 0.15


@dataclass(frozen=True)
class Smoothness:
    """What is called smooth.

    Parameters
    ----------
    bending : float
        Weight of the squared second derivatives beside the squared first ones.
    contrast : float
        Slope, in ranges of the values a pixel, above which there is an edge; infinite: nowhere.
    """

    bending: float
    contrast: float


class GridEnergy:
    """The energy of pictures of one size as sparse matrices: bilinear finite elements between the pixels' centres."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def __repr__(self) -> str:
        return f"GridEnergy({self.shape})"

    def _product(self, down: Any, across: Any) -> Any:
        from scipy import sparse

        return sparse.kron(down, across).tocsr()

    @cached_property
    def slopes(self) -> tuple[Any, Any, Any]:
        """Mean slope by x and by y in each cell of four pixels, and the mixed difference there."""
        height, width = self.shape
        (dy, my), (dx, mx) = (_differences(n) for n in (height, width))
        return self._product(my, dx), self._product(dy, mx), self._product(dy, dx)

    @cached_property
    def bending(self) -> Any:
        """Matrix of the squared second differences, of x, of y, and twice the mixed one: the thin plate."""
        from scipy import sparse

        height, width = self.shape
        rows, cols = (_differences(n - 1)[0] @ _differences(n)[0] for n in (height, width))
        xx = self._product(sparse.identity(height), cols)
        yy = self._product(rows, sparse.identity(width))
        xy = self.slopes[2]
        return (xx.T @ xx + yy.T @ yy + 2 * xy.T @ xy).tocsr()

    def matrix(self, picture: NDArray, smoothness: Smoothness) -> Any:
        """The energy's matrix with the edges of ``picture`` [h, w, c]."""
        from scipy import sparse

        of_x, of_y, mixed = self.slopes
        xx, xy, yy = self._diffusion(picture, smoothness.contrast)
        cross = of_x.T @ sparse.diags(xy) @ of_y
        found = of_x.T @ sparse.diags(xx) @ of_x + of_y.T @ sparse.diags(yy) @ of_y + cross + cross.T
        # integrals of the squares of a bilinear function: of its slopes' mean, and a twelfth of its mixed difference
        found = found + mixed.T @ sparse.diags((xx + yy) / 12) @ mixed
        return (found + smoothness.bending * self.bending).tocsr() if smoothness.bending else found.tocsr()

    def _diffusion(self, picture: NDArray, contrast: float) -> tuple[NDArray, NDArray, NDArray]:
        """D of each cell, its entries xx, xy and yy."""
        from scipy.ndimage import gaussian_filter

        n_cells = self.slopes[0].shape[0]
        if not np.isfinite(contrast):
            return np.ones(n_cells), np.zeros(n_cells), np.ones(n_cells)
        seen = gaussian_filter(picture, (BLUR, BLUR, 0)).reshape(-1, picture.shape[2])
        slope_x, slope_y = self.slopes[0] @ seen, self.slopes[1] @ seen
        xx, xy, yy = ((a * b).mean(-1) for a, b in ((slope_x, slope_x), (slope_x, slope_y), (slope_y, slope_y)))
        # across the edge: the direction in which all channels together change most
        spread = np.hypot(xx - yy, 2 * xy)
        strength, angle = (xx + yy + spread) / 2, np.arctan2(2 * xy, xx - yy) / 2
        across = 1 / np.sqrt(1 + strength / contrast**2)
        cosine, sine = np.cos(angle), np.sin(angle)
        return across * cosine**2 + sine**2, (across - 1) * cosine * sine, across * sine**2 + cosine**2


def _differences(n: int) -> tuple[Any, Any]:
    """Differences and means [n - 1, n] of neighbours."""
    from scipy import sparse

    here, next_ = sparse.eye(n - 1, n), sparse.eye(n - 1, n, k=1)
    return next_ - here, (here + next_) / 2


def fill(
    energy: GridEnergy, values: NDArray, known: NDArray[np.bool_], smoothness: Smoothness,
    start: NDArray | None = None, n_solves: int = N_SOLVES,
) -> NDArray[np.float64]:  # fmt: skip
    """The picture of least energy that is ``values`` where they are known.

    Parameters
    ----------
    energy : GridEnergy
        Of the picture's size.
    values : ndarray, shape (h, w, c)
        In [0, 1], which is the unit of the contrast.
    known : ndarray of bool, shape (h, w)
        One at least; what ``values`` holds elsewhere is not looked at.
    smoothness : Smoothness
        What is called smooth.
    start : ndarray, shape (h, w, c), optional
        Whose edges are those of the first solve; None: the picture without edges.
    n_solves : int
        Solves, each with the edges of the one before.
    """
    values = np.where(known[..., None], values, 0.0).astype(np.float64)
    if known.all():
        return values
    if start is None:
        start = np.where(known[..., None], values, values[known].mean(0))
        plain = Smoothness(smoothness.bending, np.inf)
        start = _solve(energy.matrix(start, plain), values, known, start)
    found = start
    for _ in range(n_solves if np.isfinite(smoothness.contrast) else 1):
        found = _solve(energy.matrix(found, smoothness), values, known, found)
    return found


def _solve(matrix: Any, values: NDArray, known: NDArray[np.bool_], start: NDArray) -> NDArray[np.float64]:
    """The picture of least energy, ``values`` where they are known."""
    from scipy import sparse
    from scipy.sparse import linalg

    flat, is_known = values.reshape(-1, values.shape[2]), known.ravel()
    rows = matrix[~is_known]
    system, right = rows[:, ~is_known].tocsc(), -(rows[:, is_known] @ flat[is_known])
    found = flat.copy()
    if system.shape[0] <= MAX_DIRECT:
        factors = linalg.splu(
            system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )  # fmt: skip
        found[~is_known] = factors.solve(right)
    else:
        system = system.tocsr()
        scaled = sparse.diags(1 / system.diagonal())
        first = start.reshape(flat.shape)[~is_known]
        found[~is_known] = np.stack([
            linalg.cg(system, right[:, c], first[:, c], rtol=TOLERANCE, maxiter=MAX_STEPS, M=scaled)[0]
            for c in range(flat.shape[1])
        ], -1)  # fmt: skip
    return found.reshape(values.shape)


def held_out_holes(known: NDArray[np.bool_], seed: int, fraction: float = HELD_OUT) -> NDArray[np.bool_]:
    """Known pixels [h, w] to hold out, in the shape of the holes: those that a moved copy of the holes covers.

    Of the pieces that it covers, as many by chance as are ``fraction`` of the known pixels at most, but one pixel at
    least where two are known. Single pixels do not stand for holes: they lie among known ones.
    """
    from scipy.ndimage import label

    generator = np.random.default_rng(seed)
    most = max(1, int(fraction * known.sum()))
    if known.sum() < 2:
        return np.zeros_like(known)
    height, width = known.shape
    held_out = np.zeros_like(known)
    for _ in range(8):
        # by a part of the picture, so that a large hole does not lie on itself
        moved = np.roll(~known, (int(generator.integers(height)), int(generator.integers(width))), (0, 1))
        found: Any = label(moved & known & ~held_out, np.ones((3, 3)))
        pieces, n_pieces = found
        sizes = np.bincount(pieces.ravel(), minlength=n_pieces + 1)
        order = generator.permutation(n_pieces) + 1
        left = most - int(held_out.sum())
        chosen = order[np.cumsum(sizes[order]) <= left]
        if not len(chosen) and n_pieces and sizes[1:].min() <= known.sum() // 2:
            # all are larger than that, as a single hole may be
            chosen = [1 + int(sizes[1:].argmin())]
        held_out |= np.isin(pieces, chosen)
        if held_out.sum() >= most // 2:
            break
    if not held_out.any():
        held_out.flat[generator.choice(np.flatnonzero(known), most, replace=False)] = True
    return held_out
