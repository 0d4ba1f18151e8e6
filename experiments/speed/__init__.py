"""Speed: samples per second, where the time of a step goes, memory; ``mkgc speed``."""
