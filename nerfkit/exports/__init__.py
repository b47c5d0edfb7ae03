"""What a trained scene is exported as: meshes, points, depth pictures and cameras, in the input's frame and scale."""
