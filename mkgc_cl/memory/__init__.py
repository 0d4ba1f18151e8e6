"""Exemplar selection and the memory that keeps identities of past samples."""
