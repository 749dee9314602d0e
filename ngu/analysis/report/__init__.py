"""The report of an embedding: every measure of it, put in words, drawn, and written to one page."""
