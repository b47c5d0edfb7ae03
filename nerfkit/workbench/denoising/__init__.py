"""Denoise one picture by a field that is trained on that picture alone."""
