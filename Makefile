# One short command per job, the same by hand and in CI.
.PHONY: run clean install test screenshots unit check messages docs help
.DEFAULT_GOAL := help
INSTALL := @/usr/bin/python3 -B -m portal.demo.install

run: ## The whole centre on this machine, until Ctrl-C (PORTAL_HOME, PORTAL_PORT)
	$(INSTALL) run

clean: ## Remove what make run keeps
	$(INSTALL) clean

install: ## For a centre with a Slurm of its own, into /opt/aisc (docs/operator.md)
	$(INSTALL) install

test: export AISC_TEST_DB = $(or $(DB),both)
test: ## Install what the tests need, then check, unit, integration and browser tests (DB=postgresql: all on PostgreSQL)
	$(INSTALL) test

screenshots: ## Every page at three widths, in both languages and themes, into .screenshots; the README's into docs/pictures
	$(INSTALL) screenshots

unit: ## The quick tests: no services, seconds
	$(INSTALL) unit

check: ## Format, lint and strict types
	$(INSTALL) check

messages: ## Bring the catalogues of translations up to date with the sources
	$(INSTALL) messages

docs: ## Write the page of settings anew
	$(INSTALL) docs

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10
