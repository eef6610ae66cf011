"""What ours is measured beside, as somebody would write it: told where, which, where to and a folder."""
