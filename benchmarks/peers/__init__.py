"""What ours is measured beside: programs as somebody would write them, told where, which and where to."""
