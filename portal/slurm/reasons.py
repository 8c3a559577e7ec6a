"""Slurm's reason for a wait as one plain sentence with a next step, in the reader's language. Pure.

A reason that is not in the table is shown as Slurm wrote it.
"""

from __future__ import annotations

from portal.locale import translator
from portal.policy import N_

WHOLE_GRANT = N_(
    "The grant has too little left for this job at its full length. Ask for a shorter time, or a top-up."
)
TOO_MANY = N_("As many jobs as the grant allows at once are running. It starts when one of them ends.")
TOO_MUCH = N_(
    "It asks for more than one person may use of the grant at once. It starts later, or ask for less."
)
BLOCKED = N_("The grant cannot start jobs at present. Its page on the portal says why.")
NODES = N_("The nodes it asked for are being repaired or are switched off. Ask for another size, or wait.")

NOT_YET = N_("Slurm has not looked at this job yet.")

REASONS = {
    "Priority": N_("Other jobs are ahead in the queue. It starts when its turn comes."),
    "Resources": N_("It is next, and waits for enough free nodes."),
    "Dependency": N_("It waits for another job, as was asked when it was submitted."),
    "DependencyNeverSatisfied": N_("The job it waits for has failed, so it never starts. Cancel it."),
    "BeginTime": N_("It was asked to start later, and its time has not come."),
    "JobHeldUser": N_("It is held by its owner. Release it to let it start."),
    "JobHeldAdmin": N_("It is held by an operator. Ask the operators what is needed."),
    "Reservation": N_("It waits for its reservation to begin."),
    "ReqNodeNotAvail": NODES,
    "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions": NODES,
    "PartitionDown": N_("The partition is closed for new work. It starts when it opens again."),
    "PartitionInactive": N_("The partition is closed for new work. It starts when it opens again."),
    "PartitionNodeLimit": N_("It asks for more nodes than the partition gives one job. Ask for fewer."),
    "PartitionTimeLimit": N_("It asks for more time than the partition gives. Ask for a shorter time."),
    "QOSGrpBillingMinutes": WHOLE_GRANT,
    "QOSGrpBillingRunMinutes": WHOLE_GRANT,
    "AssocGrpBillingMinutes": WHOLE_GRANT,
    "AssocGrpGRESMinutes": WHOLE_GRANT,
    "QOSGrpJobsLimit": BLOCKED,
    "QOSGrpSubmitJobsLimit": BLOCKED,
    "AssocMaxSubmitJobLimit": BLOCKED,
    "QOSMaxJobsPerUserLimit": TOO_MANY,
    "QOSMaxGRESPerUser": TOO_MANY,
    "QOSMaxWallDurationPerJobLimit": N_("It would run past the end of the grant. Ask for a shorter time."),
    "AssociationJobLimit": TOO_MANY,
    "InvalidAccount": N_(
        "The account is not one that Slurm knows. Cancel it and submit it under a grant of yours."
    ),
    "InvalidQOS": N_("The QOS is not one that Slurm knows. Cancel it and submit it under a grant of yours."),
    "BadConstraints": N_("No node has what it asks for. Cancel it and ask for less."),
    "NodeDown": NODES,
    "launch_failed_requeued_held": N_(
        "It could not be launched, and is held. Ask the operators to look at it."
    ),
    "JobLaunchFailure": N_("It could not be launched. Submit it again, or ask the operators to look at it."),
    "JobArrayTaskLimit": N_(
        "As many tasks of its array run as the array allows itself. The next one follows."
    ),
    "Licenses": N_("It waits for a software licence to become free."),
    "Prolog": N_("Its nodes are being prepared. It starts in a moment."),
    "SystemFailure": N_("Something in Slurm failed. The operators have to look at it."),
    "None": NOT_YET,
    "": NOT_YET,
    "WaitingForScheduling": NOT_YET,
    "Cleaning": N_("It is being cleaned up and starts again soon."),
}

FAMILIES = {
    "Nodes_required_for_job_are_DOWN": NODES,
    "QOSGrp": TOO_MANY,
    "QOSMax": TOO_MUCH,
    "AssocGrp": TOO_MANY,
    "AssocMax": TOO_MUCH,
}
"""Reasons by their beginning, where Slurm puts the resource or the names of nodes behind it."""


def explain(reason: str, language: str) -> str:
    """The sentence for a reason such as `Priority`; the reason itself where there is none."""
    word = reason.strip().replace(" ", "_")  # squeue prints some with spaces, scontrol with underlines
    sentence = REASONS.get(word.split(",", 1)[0]) or REASONS.get(word)
    sentence = sentence or next((text for start, text in FAMILIES.items() if word.startswith(start)), None)
    return translator(language).gettext(sentence) if sentence else reason
