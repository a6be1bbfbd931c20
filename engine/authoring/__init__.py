"""What workflow code imports."""
