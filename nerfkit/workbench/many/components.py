"""Principal components of the instances: what a linear model of equal size knows of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Components", "principal_components"]

# variance that is left to noise, as a fraction of all, where the components take everything
LEAST_NOISE = 1e-6


@dataclass(frozen=True)
class Components:
    """A mean and directions of the greatest variance.

    Parameters
    ----------
    mean : Tensor, shape (n_values,)
        Of the instances.
    directions : Tensor, shape (k, n_values)
        Orthonormal.
    variances : Tensor, shape (k,)
        Along each.
    noise : float
        Variance that a value has beside them.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    noise: float

    def project(self, values: Tensor) -> Tensor:
        """The nearest instances [n, n_values] that the components can make."""
        return self.mean + (values - self.mean) @ self.directions.T @ self.directions

    def predict(self, values: Tensor, seen: Tensor) -> Tensor:
        """The expected instances [n, n_values] given ``values`` [n, n_values] where ``seen`` [n_values] is true.

        Probabilistic principal components (Tipping and Bishop 1999, equation 6): the coefficients are as sure as their
        variances and the noise make them; nothing is to be chosen.
        """
        basis = self.directions[:, seen]
        precision = basis @ basis.T + torch.diag(self.noise / self.variances)
        coefficients = torch.linalg.solve(precision, basis @ (values - self.mean)[:, seen].T)
        return self.mean + coefficients.T @ self.directions


def principal_components(values: Tensor, n: int) -> Components:
    """The first ``n`` components, or all that there are, of instances [n_instances, n_values]."""
    values = values.double()
    mean = values.mean(0)
    _, sizes, directions = torch.linalg.svd(values - mean, full_matrices=False)
    variances = sizes.square() / max(len(values) - 1, 1)
    n = min(n, int((variances > 1e-12 * variances.sum()).sum()))
    left = float(variances[n:].sum()) / max(values.shape[1] - n, 1)
    noise = max(left, LEAST_NOISE * float(variances.sum()) / values.shape[1])
    return Components(mean, directions[:n], variances[:n], noise)
