"""Parts of `nerfkit fit mri`: pictures from k-space."""
