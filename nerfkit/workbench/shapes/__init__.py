"""Shapes as signed distances: from meshes and from points, to meshes of any resolution."""
