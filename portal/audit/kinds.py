"""What events there are, each with a short name and a sentence. One that is not here is shown as it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from portal.locale import N_


@dataclass(frozen=True)
class Kind:
    """name: for a list of choices. sentence: with {who}, {subject} and what the detail holds."""

    name: str
    sentence: str


ALARM = "alarm."
"""Kinds that begin so are alarms, which operators see as well."""

KINDS = {
    "sign-in": Kind(N_("Sign-in"), N_("{who} signed in with {browser}.")),
    "sign-in.refused": Kind(N_("Sign-in refused"), N_("{who} was refused at sign-in: {reason}.")),
    "sign-out": Kind(N_("Sign-out"), N_("{who} signed out.")),
    "role.changed": Kind(N_("Roles changed"), N_("The roles of {who} are now: {after}. Before: {before}.")),
    "session.asked": Kind(
        N_("Session asked for"),
        N_("{who} asked for {size} for {minutes} min from {grant}: session {subject}."),
    ),
    "session.refused": Kind(
        N_("Session refused"), N_("{who} asked for a session and was refused: {reason}.")
    ),
    "session.started": Kind(
        N_("Session started by another"), N_("{who} started a session for {subject}, who did not ask for it.")
    ),
    "session.stopped": Kind(N_("Session stopped"), N_("{who} stopped session {subject}: {by}.")),
    "job.cancel": Kind(N_("Job cancelled"), N_("{who} cancelled job {subject}.")),
    "grant.changed": Kind(N_("Grant changed"), N_("{who} changed grant {subject}.")),
    "membership.changed": Kind(N_("Membership changed"), N_("{who} changed who belongs to {subject}.")),
    "consent.accepted": Kind(N_("Terms accepted"), N_("{who} accepted {subject}, version {version}.")),
    "problem.reported": Kind(N_("Problem reported"), N_("{who} reported a problem: {subject}.")),
    "export": Kind(N_("Export"), N_("{who} exported {subject}: {count} lines.")),
    "settings.changed": Kind(N_("Settings changed"), N_("The settings in section {subject} are new.")),
    "service.started": Kind(N_("Process started"), N_("{who} started.")),
    "access.denied": Kind(N_("Access denied"), N_("{who} was not let in to {subject}: {reason}.")),
    "events.dropped": Kind(
        N_("Events lost"), N_("{who} could not keep {count} events while the portal was away.")
    ),
    "alarm.brute-force": Kind(
        N_("Alarm: many refused sign-ins"), N_("{count} refused sign-ins within {minutes} min: {subject}.")
    ),
    "alarm.odd-sign-in": Kind(
        N_("Alarm: unusual sign-in"), N_("{subject} signed in with {browser}, {reason}.")
    ),
    "alarm.bad-tokens": Kind(
        N_("Alarm: many bad tokens"), N_("{count} bad tokens within {minutes} min from {subject}.")
    ),
    "alarm.flood": Kind(
        N_("Alarm: flood of refusals"), N_("More refusals than are written one by one: {count} more.")
    ),
    "alarm.shipping": Kind(
        N_("Alarm: audit not copied"), N_("The audit cannot be copied to its other place: {subject}.")
    ),
    "alarm.chain-broken": Kind(
        N_("Alarm: audit was tampered with"), N_("The chain of the audit is broken at line {subject}.")
    ),
}

REASONS = {
    "second-factor": N_("no second factor"),
    "not-verified": N_("the answer of the identity provider did not hold"),
    "not-finished": N_("it was not finished, or not begun in this browser"),
    "provider": N_("the identity provider did not answer"),
    "origin": N_("the request came from a page that is not ours"),
    "role": N_("the role is missing"),
    "token": N_("the token is not good"),
    "new-device": N_("which was not seen with this network before"),
    "second-session": N_("from a network not seen before, while a session was running"),
}
BY = {
    "self": N_("on the hub's page or by API"),
    "portal": N_("in the portal"),
    "notebook": N_("from the notebook"),
    "other": N_("it belongs to another person"),
}
DOCUMENTS = {"terms": N_("Terms of use"), "privacy": N_("Privacy notice")}
ROLES = {
    "officer": N_("programme officer"),
    "operator": N_("operator"),
    "instructor": N_("instructor"),
    "-": N_("none"),
}
PROCESSES = {
    "process:portal": N_("The portal"),
    "process:hub": N_("The hub"),
    "process:agent": N_("The Slurm agent"),
    "process:dashboards": N_("The dashboards"),
}
MANY = N_("{count} more of this kind, too many to be written one by one.")
NOBODY = N_("Somebody not signed in")

FLOODABLE = {"sign-in.refused", "session.refused", "access.denied"}
"""Kinds that anybody can make happen as often as they like: equal ones are folded."""

COUNTED = {"second-factor", "not-verified", "not-finished"}
"""Reasons of a refused sign-in that may be somebody trying; an outage of the provider is not."""
