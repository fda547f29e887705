"""The neural boneprint: pairs of a chest radiograph and a bone view of one person, and the trainings on them.

``python -m training.boneprint train --recipe boneprint-explicit --work DIR`` makes an encoder bundle;
``python -m training.studies.boneprint --work DIR`` compares the methods.
"""
