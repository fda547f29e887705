"""Measuring recognition: identification, verification, calibration, strata, with intervals over patients.

:func:`training.evaluation.evaluate.evaluate` walks the whole way; the files below it follow the test: which images
are compared (``table``, ``options``, ``pairing``), their scores (``sources``, ``normalisation``), the one streamed
pass over them (``search``), and the figures made of what the pass kept (``closed_set``, ``verification``,
``open_set``, ``likelihood``, ``strata``). Words are those of ISO/IEC 2382-37 and 19795-1.
"""
