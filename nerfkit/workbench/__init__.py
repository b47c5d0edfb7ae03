"""The workbench: what the tasks of `nerfkit fit` share, from pictures to fields and back."""
