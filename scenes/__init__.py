"""What is reconstructed and what was observed: cameras, readers, fields, observations; ``nerfkit.scenes``."""

if __name__ == "scenes":
    raise ImportError("this folder is nerfkit's: use `from nerfkit.scenes import ...`, or take its parent off sys.path")
