"""Serve: HTTP, DICOM and a page around one classifier."""
