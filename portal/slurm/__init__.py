"""Slurm, as the portal meets it: commands, text, live view, wish, use.

The only place of the portal that runs Slurm commands. `commands` runs them; `text` turns their output into records and
does nothing else.
"""
