"""The record, with real files and real processes."""
