"""A prediction as DICOM objects."""
