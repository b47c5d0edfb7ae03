"""One network for many instances: a start from which a new one is fitted in a few steps."""
