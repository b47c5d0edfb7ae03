"""Many shifted low-resolution frames to one sharp image, held in a small network."""
