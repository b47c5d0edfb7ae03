"""The numerics of nerfkit, one folder per operation; import them as ``nerfkit.kernels``.

Every operation has a contract (``__init__.py``), a definition in plain torch (``_reference.py``) and, where it pays,
Triton kernels for GPUs (``_triton.py``) and numba loops for CPUs (``_cpu.py``) that agree with the definition.
"""

if __name__ == "kernels":
    raise ImportError(
        "this folder is nerfkit's: use `from nerfkit.kernels import ...`, or take its parent off sys.path"
    )
