"""From a command line to tables: settings, a plan, its runs, a report.

``given`` reads settings off a command line, ``plan`` makes runs of them, ``run`` and ``runner`` do
these, ``report`` writes what they found. Every experiment goes this way: a script declares what is
its own to ``cli``.
"""
