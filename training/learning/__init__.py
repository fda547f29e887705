"""Training: a recipe (TOML) and images with known patients become a bundle that serves.

``recipe`` says what is wanted, ``catalogue`` whose images there are, ``store`` holds them decoded. ``sampler``,
``data`` and ``augment`` make batches of them, ``losses`` and ``module`` learn, ``validation`` judges on patients that
were held out, ``run`` walks the whole way, and ``export`` ends it in a bundle. What is drawn at random follows from the
recipe's seed and the number of the step, so that a training that was killed goes on as if it had not been.
"""
