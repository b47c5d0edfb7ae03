"""Waves in a medium of any speed, by residuals: over time in windows, or of one frequency."""
