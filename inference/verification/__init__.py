"""Geometric proof of a candidate: embeddings nominate, geometry proves."""
