"""Solvers that any observation of a kind can use."""
