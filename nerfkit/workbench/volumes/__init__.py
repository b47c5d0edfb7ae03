"""Volumes from stacks of slices: the grid, interpolation, least total variation, what is learned from the slices."""
