"""Fill the holes of one picture: what is smooth, ways to fill, and the classics beside them."""
