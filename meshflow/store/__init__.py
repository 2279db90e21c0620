"""Stores: where runs, logs, documents, blobs and output are kept."""
