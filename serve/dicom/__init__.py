"""The DICOM network: films in, results out."""
