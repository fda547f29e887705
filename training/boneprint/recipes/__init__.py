"""Recipes of the neural boneprint (:mod:`training.boneprint.recipe`)."""
