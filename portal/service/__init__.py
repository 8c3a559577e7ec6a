"""The portal service: the one process that writes the ledger, and the pages people see."""
