"""A kernel of the tests of radiance; here, because Triton finds functions among the globals of a file."""

import triton
import triton.language as tl

from nerfkit.kernels.radiance._triton_rays import _each_sample, _of_owner


@triton.jit
def rows_kernel(out_ptr, first):
    lane = tl.arange(0, 4)
    row = _each_sample(_of_owner(first + lane.to(tl.int64), lane[:, None] == lane[None, :]), 16)
    tl.store(out_ptr + tl.arange(0, 64), 3 * row)
