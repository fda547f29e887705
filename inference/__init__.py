"""From DICOM series to calibrated evidence. Heavy libraries are imported only when something needs them."""
