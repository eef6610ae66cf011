"""Keeps the status history of AWS Clean Rooms ML trained model inference jobs in Postgres."""
