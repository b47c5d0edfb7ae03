"""Equations solved by a field: two solvers of the same terms, and what a report shows."""
