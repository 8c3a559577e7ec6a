#!/bin/sh
# What the job of a session runs. The same text for everybody: no value of a person and no secret stands in it, because
# Slurm keeps batch scripts. All values come as options of sbatch or as exported variables.
# The text of spawners/node.py takes the place of the line between the marks, so that a node needs no file of ours.
set -eu
umask 077
exec "$AISC_PYTHON" -I -S - <<'END-OF-NODE-PROGRAM'
@node.py@
END-OF-NODE-PROGRAM
