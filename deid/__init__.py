"""De-identification. Its rooms are described in the design; the first of them comes with header cleaning."""
