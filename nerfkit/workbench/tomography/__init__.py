"""Pictures from line integrals: scans, filtered back projection, weights, fields."""
