"""Weights of red, green and blue in luminance (ITU-R BT.709); free of torch."""

LUMINANCE = (0.2126, 0.7152, 0.0722)
