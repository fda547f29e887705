"""What a visit may turn, one file for each kind of study: dials with documented defaults, and what a visit drew."""
