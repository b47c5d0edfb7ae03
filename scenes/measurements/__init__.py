"""What was measured, where, and how surely; no operator is here. Domains: points are drawn anew at every step."""
