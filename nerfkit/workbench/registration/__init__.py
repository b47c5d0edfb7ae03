"""Registration of two images or volumes: transforms, similarities, the pyramid, the choices made without a truth."""
