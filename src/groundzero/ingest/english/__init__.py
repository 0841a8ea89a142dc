"""What is particular to English: data files, read by `groundzero.ingest.words`."""
