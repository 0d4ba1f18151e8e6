"""The experiments: a script for every table and figure; ``pipeline`` is the way all of them go.

On disk they stand beside ``mkgc_cl/`` and run from there (``python experiments/ablation.py``);
installed they are a part of it (``mkgc run ablation``, ``python -m mkgc_cl.experiments.ablation``).
"""

SCRIPTS = {
    "ablation": "Table 3: what each part of MSPT brings",
    "imre": "Table 1 and Figure 1: every system on relations",
    "imner": "Table 2: every system on entities, in both orders",
    "plasticity": "Figure 3: the score on the task just learnt",
    "imbalance": "Figure 4: the contribution ratio of the modalities",
    "rehearsal_size": "Figure 5: the final score against the size of the memory",
    "task_number": "Figure 6: the final score against the number of tasks",
    "controls": "what the systems make of images and of words",
    "speed": "samples per second, memory, where the time of a step goes (mkgc speed)",
    "confidence": "how sure a system is: calibration and abstention",
    "leaderboard": "one table of all systems, from finished runs",
}
"""Modules that can be run, and what for."""

__all__ = ["SCRIPTS"]
