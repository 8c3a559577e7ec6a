"""Why a job waits: Slurm's reason, said in one plain sentence with a next step where there is one.

The sentences are message ids of the catalogues, and speak to any reader of the queue, not only to the job's owner. A
reason that is not known here is shown as Slurm wrote it.
"""

from __future__ import annotations

from portal.locale import translator
from portal.policy import N_

_SENTENCES = {
    "Priority": N_("Other jobs are ahead of this one in the queue; it moves up by itself."),
    "Resources": N_("This job is next: it starts as soon as enough of the machine is free."),
    "BeginTime": N_(
        "This job waits for its start time; one that was sent back to the queue waits two minutes."
    ),
    "Dependency": N_("This job waits for another job to finish."),
    "DependencyNeverSatisfied": N_(
        "This job waits for another job that can no longer do what it waits for: cancel it and submit it again."
    ),
    "JobHeldUser": N_("Its owner put this job on hold: it runs once it is released."),
    "JobHeldAdmin": N_("The operators put this job on hold and can say why."),
    "JobArrayTaskLimit": N_("As many tasks of this array run as it allows itself; the next one follows."),
    "Licenses": N_("This job waits for a software licence to become free."),
    "NodeDown": N_("A node that this job needs is down; the operators have to bring it back."),
    "ReqNodeNotAvail": N_(
        "A node that this job names is in use, reserved or down: name none to start sooner."
    ),
    "PartitionDown": N_("This part of the machine is closed for now; the job starts when it opens again."),
    "PartitionInactive": N_(
        "This part of the machine is closed for now; the job starts when it opens again."
    ),
    "PartitionNodeLimit": N_(
        "This job asks for more nodes than this part of the machine may give: ask for fewer."
    ),
    "PartitionTimeLimit": N_(
        "This job asks for more time than this part of the machine allows: ask for less."
    ),
    "BadConstraints": N_("No node is like what this job asks for: cancel it and ask for something else."),
    "InvalidAccount": N_("The grant of this job no longer exists in Slurm: choose another grant."),
    "InvalidQOS": N_("The grant of this job no longer exists in Slurm: choose another grant."),
    "Reservation": N_("This job waits for its reservation to begin."),
    "Cleaning": N_("This job is being put back into the queue."),
    "Prolog": N_("The nodes are being prepared; the job starts in a moment."),
    "JobLaunchFailure": N_(
        "This job could not be started on its node: submit it again, or ask the operators."
    ),
    "launch_failed_requeued_held": N_(
        "This job could not be started on its node and is on hold: ask the operators."
    ),
    "SystemFailure": N_("Something in Slurm failed; the operators have to look at it."),
    "WaitingForScheduling": N_("Slurm has not looked at this job yet."),
    "None": N_("Slurm has not looked at this job yet."),
    "": N_("Slurm has not looked at this job yet."),
    "QOSGrpBillingMinutes": N_(
        "What is left of the grant does not cover this job at its full time, with the jobs that run: ask for less"
        " time or a smaller size, or for a top-up."
    ),
    "QOSGrpJobsLimit": N_("The grant is suspended, not yet begun or ended: this job cannot start on it."),
    "QOSGrpSubmitJobsLimit": N_("The grant takes no more jobs now: it is used up, suspended or ended."),
    "QOSMaxWallDurationPerJobLimit": N_("This job asks for more time than the grant allows: ask for less."),
    "AssocMaxSubmitJobLimit": N_(
        "This person may not start jobs on the grant now; its holder can change that."
    ),
}

_FAMILIES = {
    "Nodes_required_for_job_are_DOWN": _SENTENCES["NodeDown"],
    "ReqNodeNotAvail": _SENTENCES["ReqNodeNotAvail"],
    "QOSGrp": N_("The grant has as much in use as it may have at one time; this job follows."),
    "QOSMax": N_(
        "This job asks for more than one person may use of the grant at one time: it follows later, or must be made smaller."
    ),
    "AssocGrp": N_("The grant has as much in use as it may have at one time; this job follows."),
    "AssocMax": N_(
        "This job asks for more than one person may use of the grant at one time: it follows later, or must be made smaller."
    ),
}
"""Reasons by their beginning: Slurm puts the resource, or the names of nodes, behind it."""


def sentence(reason: str, language: str) -> str:
    """Why a job waits, in the language of the reader. reason: as `LiveJob.reason` has it."""
    known = _SENTENCES.get(reason) or next(
        (text for start, text in _FAMILIES.items() if reason.startswith(start)), None
    )
    return translator(language).gettext(known) if known else reason
