"""Training of the skull encoder: faces first, then skulls towards them, always from different visits."""
