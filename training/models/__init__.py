"""Bundles as things to keep: checked and registered, and compared on the same images."""
