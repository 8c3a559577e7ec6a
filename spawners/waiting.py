"""Why a job waits, in one plain sentence. Pure."""

from __future__ import annotations

from portal.locale import translator
from portal.policy import N_

REASONS = {
    "Priority": N_("Waiting: other jobs are ahead of yours."),
    "Resources": N_("Next in line: waiting for enough free resources."),
    "None": N_("Slurm is about to look at your session."),
    "BeginTime": N_("Slurm is about to look at your session."),
    "JobHeldUser": N_("On hold. Release it, or cancel it and start again."),
    "JobHeldAdmin": N_("Put on hold by the operators."),
    "ReqNodeNotAvail": N_("Waiting: the nodes it needs are reserved or under maintenance."),
    "Reservation": N_("Waiting for its reservation to begin."),
    "PartitionDown": N_("Waiting: this part of the cluster is closed at the moment."),
    "NodeDown": N_("Waiting: a node it needs is down."),
    "QOSGrpJobsLimit": N_("Cannot start: the grant is paused or not active."),
    "QOSGrpBillingMinutes": N_(
        "Cannot start: it could cost more than the grant has left. Try a shorter time."
    ),
}


def sentence(reason: str, language: str) -> str:
    """The sentence for Slurm's reason; one we do not know is quoted."""
    _ = translator(language).gettext
    if known := REASONS.get(reason.split(",")[0].strip("() ")):
        return _(known)
    if reason.startswith(("QOS", "Assoc")):
        return _("Waiting: a limit of the grant or of the person is reached (%s).") % reason
    return _("Your session is in the queue (%s).") % reason
