"""The research portal: grants, ledger, sessions and pages around JupyterHub and Slurm."""
