"""From a file's bytes to grey levels: DICOM, PNG and JPEG."""
