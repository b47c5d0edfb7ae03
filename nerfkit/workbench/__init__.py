"""Rows of the workbench beside scenes and frames, a package each."""
