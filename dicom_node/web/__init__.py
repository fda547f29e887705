"""What the node shows over HTTP: health and metrics."""
