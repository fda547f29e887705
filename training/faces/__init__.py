"""Recognition by faces in CT and MR: what its networks are trained on, and how."""
