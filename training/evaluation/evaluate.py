"""The evaluation of one source of scores on one table of images, from the first comparison to the last interval."""
