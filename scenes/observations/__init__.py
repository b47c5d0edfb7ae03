"""Observations: what an instrument would have measured of a field. One file per observation."""
