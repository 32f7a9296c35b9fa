"""The answers as a page, figures and files."""
