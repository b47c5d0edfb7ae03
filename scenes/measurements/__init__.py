"""What was measured, where, and how surely; no operator is here."""
