"""The experiments: a script for every table and figure, and what the scripts share.

On disk they stand beside ``mkgc_cl/`` and run from there (``python experiments/ablation.py``);
installed they are a part of it (``python -m mkgc_cl.experiments.ablation``).
"""
