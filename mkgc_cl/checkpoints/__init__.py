"""Checkpoints on disk: plain data and tensors in a folder, whole or not there; samples that travel.

What of a run goes into one, :mod:`mkgc_cl.strategies.checkpoints` knows.
"""
