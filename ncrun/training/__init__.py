"""The loop, what it measures, and how it starts, stops and continues."""
