"""The whole product on one machine: a private Slurm, an identity provider, the processes and sample data."""
