"""The report of an evaluation for people: one HTML page with everything in it."""
