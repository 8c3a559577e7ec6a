"""JupyterHub's configuration: reads the settings, leaves the rest to `portal.hub`. No logic here."""

from portal import hub, settings

c = get_config()  # type: ignore[name-defined]  # noqa: F821 (JupyterHub provides it)

hub.configure(c, settings.load())
