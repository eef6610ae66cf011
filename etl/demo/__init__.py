"""A simulated AWS Clean Rooms ML: a world that knows the truth, served over HTTP in AWS's format."""
