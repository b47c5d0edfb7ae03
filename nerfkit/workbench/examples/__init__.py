"""Equations that `nerfkit fit solve` knows by name; each file is what a user would write."""
