"""Measurements: what was measured, where, how surely; and domains, of which points are drawn anew at every step."""
