"""The workbench: tasks that fit an implicit neural representation to one measurement."""
