"""A kernel of the tests of radiance; here, because Triton finds functions among the globals of a file."""

import triton
import triton.language as tl

from nerfkit.kernels.radiance._triton_rays import _ray, _row


@triton.jit
def rows_kernel(out_ptr, block):
    tl.store(out_ptr + tl.arange(0, 4), 3 * _ray(block, 4))
    tl.store(out_ptr + 4 + tl.arange(0, 64), 3 * _row(block, 4, 16))
