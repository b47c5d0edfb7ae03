"""The eikonal loss: |grad f| = 1 everywhere, f = 0 on the surface with its normal, and not 0 anywhere else.

Sitzmann et al. 2020 (SIREN), eq. 6; its weights divided by 100. Gradients travel forward through the network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.problem import Term
from nerfkit.scenes.measurements.domains import Box
from nerfkit.scenes.measurements.epochs import Epochs
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.derivatives import Derivatives, Jet
from nerfkit.scenes.observations.residuals import Residual
from nerfkit.workbench.shapes.frame import BOX

__all__ = ["eikonal_terms"]

# weights of the value, of the normal, of the gradient's length, and of what is 0 off the surface
VALUE, NORMAL, LENGTH, ELSEWHERE = 30.0, 1.0, 0.5, 1.0
# steepness of exp(-a |f|), which is to vanish off the surface
STEEP = 100.0


def _on_surface(found: Jet, normals: Tensor) -> Tensor:
    """Loss of each point of the surface [n]."""
    gradient = found.gradient[:, 0]
    turned = 1 - torch.nn.functional.cosine_similarity(gradient, normals, dim=1)
    return VALUE * found.value[:, 0].abs() + NORMAL * turned + LENGTH * (gradient.norm(dim=1) - 1).abs()


def _off_surface(points: Tensor, found: Jet) -> Tensor:
    """What is to be 0 at points of the box [n]."""
    length = (found.gradient[:, 0].norm(dim=1) - 1).abs()
    return LENGTH * length + ELSEWHERE * torch.exp(-STEEP * found.value[:, 0].abs())


def eikonal_terms(points: Tensor, normals: Tensor, n: int) -> list[Term]:
    """Terms of the surface through ``points`` [m, 3] with unit ``normals`` [m, 3], ``n`` points of each a step."""
    surface = Epochs(Measurements(points, normals))
    return [
        Term(Derivatives(1), surface, _on_surface, n=n),
        Term(Residual(_off_surface, 1), Box([(-BOX, BOX)] * 3), lambda found, zero: found, n=n),
    ]
