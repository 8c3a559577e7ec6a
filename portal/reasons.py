"""The one table of every no and every wait: what it is, the next step, and who can do something. Pure.

Slurm's reasons for a job (`SLURM`, and `FAMILIES` for limits on a resource), refusals of the policy (`POLICY`), why a
start fails (`START`), and what a program is told over REST (`ANSWERS`). Sentences are English here and translated where they are told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from portal.locale import CHINESE, N_, filled, translator


class Kind(StrEnum):
    """What it takes until a job starts, or a refusal ends."""

    WAITS = "waits"
    YOURS = "yours"
    OPERATORS = "operators"
    NEVER = "never"
    ENDED = "ended"


KIND_WORDS = {
    Kind.WAITS: N_("Starts by itself"),
    Kind.YOURS: N_("Needs you"),
    Kind.OPERATORS: N_("Needs the operators"),
    Kind.NEVER: N_("Cannot start as it is"),
    Kind.ENDED: N_("Has ended"),
}
KIND_MARKS = {
    Kind.WAITS: "waiting",
    Kind.YOURS: "attention",
    Kind.OPERATORS: "attention",
    Kind.NEVER: "stopped",
    Kind.ENDED: "stopped",
}
"""The meaning that a mark shows beside the word: one of those of the design tokens."""

HELP = "/services/portal/help/reasons"
"""Where all of them are explained: a path of the portal's host."""


@dataclass(frozen=True)
class Row:
    """what: the reason. step: what to do next. Both are sentences in English, with places for values."""

    what: str
    step: str
    kind: Kind


@dataclass(frozen=True)
class Told:
    """A reason in the reader's language. known: False for one that is in no table; `what` is then the reason itself."""

    code: str
    what: str
    step: str
    kind: Kind | None
    word: str
    known: bool = True

    @property
    def mark(self) -> str:
        return KIND_MARKS[self.kind] if self.kind else "waiting"


# Slurm's reasons

_TURN = N_("It starts by itself when its turn comes.")
_WHEN_ONE_ENDS = N_("It starts by itself when one of them ends.")
_LONGER = N_("Cancel it, and ask for a shorter time.")
_LESS = N_("Cancel it, and ask for less.")
_MORE = N_("Cancel it, and ask for more.")
_OPERATORS = N_("Ask the operators to look at it.")
_UNDER_YOUR_GRANT = N_("Cancel it, and submit it under a grant of yours.")
_ENDED_TRY = N_("Look at its output, then submit it again.")
_SHORTER_OR_TOP_UP = N_("Ask for a shorter time, or for a top-up of the grant.")

_NOT_YET = Row(N_("Slurm has not looked at this job yet."), _TURN, Kind.WAITS)
_DOWN = Row(
    N_("The nodes it needs are being repaired or are switched off."),
    N_("It starts by itself when they are back; another size may start sooner."),
    Kind.WAITS,
)
_CLOSED = Row(
    N_("The partition is closed for new work."),
    N_("It starts by itself when the partition opens again."),
    Kind.WAITS,
)
_BLOCKED = Row(
    N_("The grant cannot start jobs at present."),
    N_("The Home page says why; ask the principal investigator."),
    Kind.YOURS,
)
_WHOLE_GRANT = Row(
    N_("The grant has too little left for this job at its full length."), _SHORTER_OR_TOP_UP, Kind.YOURS
)
_PAST_THE_END = Row(
    N_("It would run past the end of the grant."),
    N_("Cancel it, and ask for a shorter time, or ask for an extension of the grant."),
    Kind.NEVER,
)
_TOO_MANY_OF_OWNER = Row(
    N_("As many jobs of its owner are running as one person may have at once."), _WHEN_ONE_ENDS, Kind.WAITS
)
_TOO_MANY_IN_ALL = Row(
    N_("As many jobs of its owner are running and waiting as one person may have."),
    _WHEN_ONE_ENDS,
    Kind.WAITS,
)
_NOT_THIS_PARTITION = Row(
    N_("The grant may not use this partition."),
    N_("Cancel it, and choose another size."),
    Kind.NEVER,
)
_NO_LAUNCH = Row(
    N_("It could not be launched, and is held."),
    N_("Ask the operators to look at it, or submit it again."),
    Kind.OPERATORS,
)
_BUFFER = N_("The burst buffer is being prepared for it.")

SLURM: dict[str, Row] = {
    "": _NOT_YET,
    "None": _NOT_YET,
    "WaitingForScheduling": _NOT_YET,
    "SchedDefer": _NOT_YET,
    "Priority": Row(N_("Other jobs are ahead in the queue."), _TURN, Kind.WAITS),
    "Resources": Row(
        N_("It is next, and waits for enough free nodes."),
        N_("It starts by itself; a smaller size may start sooner."),
        Kind.WAITS,
    ),
    "Dependency": Row(
        N_("It waits for another job, as was asked when it was submitted."),
        N_("It starts by itself when that job has ended."),
        Kind.WAITS,
    ),
    "DependencyNeverSatisfied": Row(
        N_("The job it waits for did not end as was asked, so it never starts."),
        N_("Cancel it, and submit it again."),
        Kind.NEVER,
    ),
    "BeginTime": Row(
        N_("It was asked to start later, and its time has not come."),
        N_("It starts by itself at that time."),
        Kind.WAITS,
    ),
    "JobHeldUser": Row(
        N_("It is held by its owner."),
        N_("Release it with “scontrol release” to let it start, or cancel it."),
        Kind.YOURS,
    ),
    "JobHeldAdmin": Row(
        N_("It is held by an operator."), N_("Ask the operators what is needed."), Kind.OPERATORS
    ),
    "JobHoldMaxRequeue": Row(
        N_("It was started again too often, and is held."),
        N_("Ask the operators to look at it, or submit it again."),
        Kind.OPERATORS,
    ),
    "launch_failed_requeued_held": _NO_LAUNCH,
    "user_env_retrieval_failed_requeued_held": _NO_LAUNCH,
    "job_requeued_in_held_state": Row(
        N_("It was put back into the queue, and is held."),
        N_("Release it with “scontrol release” to let it start, or cancel it."),
        Kind.YOURS,
    ),
    "job_requeued_in_special_exit_state": Row(
        N_("It asked to be put back into the queue for a check, and is held."),
        N_("Release it with “scontrol release” to let it start, or cancel it."),
        Kind.YOURS,
    ),
    "Reservation": Row(
        N_("It waits for its reservation to begin."),
        N_("It starts by itself when the reservation begins."),
        Kind.WAITS,
    ),
    "ReservationDeleted": Row(
        N_("The reservation it was submitted to no longer exists."),
        N_("Cancel it, and submit it without that reservation."),
        Kind.NEVER,
    ),
    "ReservationInvalid": Row(
        N_("The reservation it names does not exist or is not open to its owner."),
        N_("Cancel it, and submit it without that reservation."),
        Kind.NEVER,
    ),
    "ReqNodeNotAvail": _DOWN,
    "ReqNodeNotAvail,_Reserved_for_maintenance": Row(
        N_("The nodes it needs are reserved for maintenance, which would begin before it ends."),
        N_("It starts by itself after the maintenance; a shorter time may start sooner."),
        Kind.WAITS,
    ),
    "ReqNodeNotAvail,_May_be_reserved_for_other_job": Row(
        N_("The nodes it needs are kept for another job or for a reservation."),
        N_("It starts by itself when they are free; a shorter time may start sooner."),
        Kind.WAITS,
    ),
    "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions": _DOWN,
    "NodeDown": _DOWN,
    "FrontEndDown": _DOWN,
    "PartitionDown": _CLOSED,
    "PartitionInactive": _CLOSED,
    "PartitionConfig": Row(
        N_("It asks for something that the partition does not allow."),
        N_("Cancel it, and choose another size."),
        Kind.NEVER,
    ),
    "PartitionNodeLimit": Row(
        N_("It asks for more nodes than the partition gives one job."), _LESS, Kind.NEVER
    ),
    "PartitionTimeLimit": Row(N_("It asks for more time than the partition gives."), _LONGER, Kind.NEVER),
    "Job's_account_not_permitted_to_use_this_partition": _NOT_THIS_PARTITION,
    "Job's_QOS_not_permitted_to_use_this_partition": _NOT_THIS_PARTITION,
    "AccountNotAllowed": _NOT_THIS_PARTITION,
    "QOSNotAllowed": _NOT_THIS_PARTITION,
    "InvalidAccount": Row(
        N_("The account is not one that Slurm knows."),
        _UNDER_YOUR_GRANT,
        Kind.NEVER,
    ),
    "InvalidQOS": Row(N_("The QOS is not one that Slurm knows."), _UNDER_YOUR_GRANT, Kind.NEVER),
    "AccountingPolicy": Row(
        N_("A limit of the grant or of its owner does not let it start now."),
        N_("It starts by itself when others of their jobs end; if it does not, ask the operators."),
        Kind.WAITS,
    ),
    "QOSUsageThreshold": Row(
        N_("The grant has used so much of late that others come first."), _TURN, Kind.WAITS
    ),
    "QOSGrpJobsLimit": _BLOCKED,
    "QOSGrpSubmitJobsLimit": _BLOCKED,
    "AssocMaxSubmitJobLimit": _BLOCKED,
    "QOSGrpBillingMinutes": _WHOLE_GRANT,
    "QOSGrpBillingRunMinutes": _WHOLE_GRANT,
    "AssocGrpBillingMinutes": _WHOLE_GRANT,
    "AssocGrpBillingRunMinutes": _WHOLE_GRANT,
    "QOSMaxWallDurationPerJobLimit": _PAST_THE_END,
    "AssocMaxWallDurationPerJobLimit": _PAST_THE_END,
    "AssociationJobLimit": _TOO_MANY_OF_OWNER,
    "QOSJobLimit": _TOO_MANY_OF_OWNER,
    "QOSMaxJobsPerUserLimit": _TOO_MANY_OF_OWNER,
    "AssocMaxJobsLimit": _TOO_MANY_OF_OWNER,
    "QOSMaxSubmitJobPerUserLimit": _TOO_MANY_IN_ALL,
    "AssociationResourceLimit": Row(N_("It asks for more than the grant allows at once."), _LESS, Kind.NEVER),
    "QOSResourceLimit": Row(N_("It asks for more than the grant allows at once."), _LESS, Kind.NEVER),
    "AssociationTimeLimit": Row(N_("It asks for more time than the grant allows."), _LONGER, Kind.NEVER),
    "QOSTimeLimit": Row(N_("It asks for more time than the grant allows."), _LONGER, Kind.NEVER),
    "MaxMemPerLimit": Row(
        N_("It asks for more memory than the partition gives for each node or core."), _LESS, Kind.NEVER
    ),
    "BadConstraints": Row(N_("No node has what it asks for."), _LESS, Kind.NEVER),
    "Constraints": Row(N_("No node has what it asks for."), _LESS, Kind.NEVER),
    "Licenses": Row(
        N_("It waits for a software licence."),
        N_("It starts by itself when one is free."),
        Kind.WAITS,
    ),
    "JobArrayTaskLimit": Row(
        N_("As many tasks of its array are running as the array allows itself."), _WHEN_ONE_ENDS, Kind.WAITS
    ),
    "HetJob": Row(
        N_("It waits for the other parts of its heterogeneous job."),
        N_("It starts by itself together with them."),
        Kind.WAITS,
    ),
    "FedJobLock": Row(
        N_("Another cluster is deciding whether to run it."),
        N_("It starts by itself in a moment."),
        Kind.WAITS,
    ),
    "Cleaning": Row(
        N_("It is being cleaned up after an earlier run."), N_("It starts by itself in a moment."), Kind.WAITS
    ),
    "Prolog": Row(N_("Its nodes are being prepared."), N_("It starts by itself in a moment."), Kind.WAITS),
    "MaxPoweredUpNodes": Row(
        N_("As many nodes are switched on as the centre runs at once."),
        N_("It starts by itself when one of them is free."),
        Kind.WAITS,
    ),
    "MpiPortsBusy": Row(
        N_("The network ports that its parts need to talk to each other are in use."),
        N_("It starts by itself when they are free."),
        Kind.WAITS,
    ),
    "PowerNotAvail": Row(
        N_("There is not enough electrical power for it now."),
        N_("It starts by itself when there is."),
        Kind.WAITS,
    ),
    "PowerReserved": Row(
        N_("The electrical power it needs is reserved."), N_("It starts by itself when there is."), Kind.WAITS
    ),
    "BurstBufferResources": Row(
        N_("It waits for free space in the burst buffer."),
        N_("It starts by itself when there is some."),
        Kind.WAITS,
    ),
    "BurstBufferStageIn": Row(_BUFFER, N_("It starts by itself in a moment."), Kind.WAITS),
    "BurstBufferOperation": Row(N_("The burst buffer failed for it."), _OPERATORS, Kind.OPERATORS),
    "BlockMaxError": Row(N_("Something in Slurm failed."), _OPERATORS, Kind.OPERATORS),
    "BlockFreeAction": Row(N_("Something in Slurm failed."), _OPERATORS, Kind.OPERATORS),
    "SystemFailure": Row(N_("Something in Slurm failed."), _OPERATORS, Kind.OPERATORS),
    "JobLaunchFailure": Row(
        N_("It could not be launched."),
        N_("Submit it again; if that fails too, ask the operators to look at it."),
        Kind.OPERATORS,
    ),
    "InvaildReason": Row(N_("Slurm gives no reason."), _OPERATORS, Kind.OPERATORS),
    # of jobs that are over
    "NonZeroExitCode": Row(N_("Its program ended with an error."), _ENDED_TRY, Kind.ENDED),
    "RaisedSignal": Row(N_("Its program was ended by a signal."), _ENDED_TRY, Kind.ENDED),
    "OutOfMemory": Row(
        N_("It used more memory than it had asked for."),
        N_("Submit it again with a larger size."),
        Kind.ENDED,
    ),
    "TimeLimit": Row(N_("It reached its time limit."), N_("Submit it again with a longer time."), Kind.ENDED),
    "InactiveLimit": Row(N_("It was inactive for too long."), N_("Submit it again when needed."), Kind.ENDED),
    "DeadLine": Row(
        N_("It could no longer end before the deadline that it was given."),
        N_("Submit it again with a later deadline."),
        Kind.ENDED,
    ),
}
"""Slurm's reasons by their name, blanks written as underlines; what Slurm puts behind one is not part of it."""

RESOURCES = {
    "Cpu": N_("CPU cores"),
    "CPU": N_("CPU cores"),
    "GRES": N_("GPUs"),
    "Mem": N_("memory"),
    "Memory": N_("memory"),
    "Node": N_("nodes"),
    "Billing": N_("computing power"),
    "BB": N_("burst buffer space"),
    "Energy": N_("energy"),
    "License": N_("software licences"),
    "Unknown": N_("one kind of resource"),
}
"""What Slurm's limits count, in the words of people."""

FAMILIES: dict[tuple[str, str, str], Row] = {
    ("Grp", "", ""): Row(
        N_("The running jobs of the grant have reached its limit on {resource}."),
        N_("It starts by itself when one of them ends, if it fits into the limit."),
        Kind.WAITS,
    ),
    ("Grp", "Minutes", ""): Row(
        N_("The grant has too little time on {resource} left for this job at its full length."),
        _SHORTER_OR_TOP_UP,
        Kind.YOURS,
    ),
    ("Grp", "RunMinutes", ""): Row(
        N_("The running jobs of the grant hold as much time on {resource} as it allows at once."),
        N_("It starts by itself when one of them ends; a shorter time may start sooner."),
        Kind.WAITS,
    ),
    ("Max", "", "PerJob"): Row(N_("It asks for more {resource} than one job may have."), _LESS, Kind.NEVER),
    ("Max", "Minutes", "PerJob"): Row(
        N_("It asks for more time on {resource} than one job may have."), _LONGER, Kind.NEVER
    ),
    ("Max", "", "PerNode"): Row(
        N_("It asks for more {resource} on each node than one job may have."),
        _LESS,
        Kind.NEVER,
    ),
    ("Max", "", "PerUser"): Row(
        N_("The running jobs of its owner have reached the limit on {resource} for one person."),
        N_("It starts by itself when one of them ends, if it fits into the limit."),
        Kind.WAITS,
    ),
    ("Max", "RunMinutes", "PerUser"): Row(
        N_("The running jobs of its owner hold as much time on {resource} as one person may have at once."),
        N_("It starts by itself when one of them ends; a shorter time may start sooner."),
        Kind.WAITS,
    ),
    ("Max", "", "PerAccount"): Row(
        N_("The running jobs of the grant have reached its limit on {resource}."),
        N_("It starts by itself when one of them ends, if it fits into the limit."),
        Kind.WAITS,
    ),
    ("Max", "RunMinutes", "PerAccount"): Row(
        N_("The running jobs of the grant hold as much time on {resource} as it allows at once."),
        N_("It starts by itself when one of them ends; a shorter time may start sooner."),
        Kind.WAITS,
    ),
    ("Min", "", ""): Row(
        N_("It does not ask for enough {resource} for a job of this kind."), _MORE, Kind.NEVER
    ),
}
"""Limits of a QOS, an association or an account: (Grp, Max or Min; kind of time; for each what) > sentence pattern."""

JOBS: dict[tuple[str, str, str], Row] = {
    ("Grp", "Jobs", ""): Row(
        N_("As many jobs of the grant are running as it allows at once."), _WHEN_ONE_ENDS, Kind.WAITS
    ),
    ("Grp", "SubmitJobs", ""): Row(
        N_("As many jobs of the grant are running and waiting as it allows."), _WHEN_ONE_ENDS, Kind.WAITS
    ),
    ("Grp", "Wall", ""): Row(
        N_("The jobs of the grant have run for as long in all as it allows."),
        N_("Ask for a top-up of the grant."),
        Kind.YOURS,
    ),
    ("Max", "Jobs", "PerAccount"): Row(
        N_("As many jobs of the grant are running as it allows at once."), _WHEN_ONE_ENDS, Kind.WAITS
    ),
    ("Max", "SubmitJobs", "PerAccount"): Row(
        N_("As many jobs of the grant are running and waiting as it allows."), _WHEN_ONE_ENDS, Kind.WAITS
    ),
}
"""Limits on the number of jobs and on their time on the clock."""

_LIMIT = re.compile(
    r"(?:QOS|Assoc)?(?P<scope>Grp|Max|Min)(?P<thing>[A-Za-z]+?)(?P<time>RunMinutes|RunMins|Minutes)?"
    r"(?P<each>PerJob|PerNode|PerUser|PerAccount)?(?:Limit|NotSatisfied)?"
)
_NODES = re.compile(r"ReqNodeNotAvail,_UnavailableNodes:([A-Za-z0-9._,\[\]-]{1,200})")


# Refusals of the policy, by their code

POLICY: dict[str, Row] = {
    "no-grant": Row(
        N_("You have no grant yet."),
        N_("Ask the principal investigator of your project to add you, or write to {contact}."),
        Kind.YOURS,
    ),
    "terms-not-accepted": Row(
        N_("You have not accepted the privacy notice and the terms yet."),
        N_("Open the home page of the portal, read them and accept them; then start your session."),
        Kind.YOURS,
    ),
    "grant-not-yours": Row(
        N_("The grant {value} is not one of yours."), N_("Choose one of the grants in the form."), Kind.YOURS
    ),
    "grant-not-offered": Row(
        N_("The grant {value} is not one of yours."), N_("Choose one of the grants in the form."), Kind.YOURS
    ),
    "size-not-offered": Row(
        N_("The size {value} is not offered here."), N_("Choose one of the sizes in the form."), Kind.YOURS
    ),
    "minutes-not-offered": Row(
        N_("A time limit of {value} minutes is not offered here."),
        N_("Choose one of the time limits in the form."),
        Kind.YOURS,
    ),
    "grant-draft": Row(
        N_("The grant {grant} is not approved yet."),
        N_("It can be used once the committee's decision is recorded; until then choose another grant."),
        Kind.YOURS,
    ),
    "grant-not-started": Row(
        N_("The grant {grant} starts on {starts}."),
        N_("Choose another grant, or come back then."),
        Kind.YOURS,
    ),
    "grant-exhausted": Row(
        N_("The grant {grant} is used up."), N_("Ask for a top-up, or choose another grant."), Kind.YOURS
    ),
    "grant-suspended": Row(
        N_("The grant {grant} is suspended."),
        N_("Ask the programme office what is needed to lift it, or choose another grant."),
        Kind.YOURS,
    ),
    "grant-expired": Row(
        N_("The grant {grant} ended on {ends}."),
        N_("Ask for an extension, or choose another grant."),
        Kind.YOURS,
    ),
    "grant-closed": Row(N_("The grant {grant} is closed."), N_("Choose another grant."), Kind.YOURS),
    "all-committed": Row(
        N_("All that is left of the grant {grant} is committed to sessions and jobs."),
        N_("It becomes free as they end: stop one, or wait."),
        Kind.YOURS,
    ),
    "past-the-end": Row(
        N_("This would run past the end of the grant {grant} on {ends}."),
        N_("Choose a shorter time, or ask for an extension."),
        Kind.YOURS,
    ),
    "too-dear": Row(
        N_("This could cost {cost} GPU-hours, and {available} are available on the grant {grant}."),
        N_("Choose a smaller size or a shorter time."),
        Kind.YOURS,
    ),
    "dearer": Row(
        N_("This choice costs you at most {own}, more than the price you were shown."),
        N_("If you agree to it, press Start again."),
        Kind.YOURS,
    ),
    "over-the-cap": Row(
        N_("Your cap on the grant {grant} is {cap} GPU-hours, and {used} are used or committed."),
        N_("Choose less, or ask the principal investigator to raise the cap."),
        Kind.YOURS,
    ),
}

# Why a start fails: said by the hub and its spawners, and by the portal to whoever asks it over REST

START: dict[str, Row] = {
    "options": Row(
        N_("The request for a session was not understood."),
        N_("Send one object with the grant, the size and the time limit in minutes."),
        Kind.YOURS,
    ),
    "unknown-option": Row(
        N_("There is no such choice as “{value}”."),
        N_("Send only the grant, the size and the minutes."),
        Kind.YOURS,
    ),
    "grant": Row(N_("No valid grant was chosen."), N_("Choose one of your grants."), Kind.YOURS),
    "size": Row(N_("No valid size was chosen."), N_("Choose one of the sizes offered."), Kind.YOURS),
    "minutes": Row(
        N_("No valid time limit was chosen."), N_("Choose one of the time limits offered."), Kind.YOURS
    ),
    "most": Row(
        N_("The highest price you agree to was not understood."),
        N_("Send it as a whole number of cents, or leave it out."),
        Kind.YOURS,
    ),
    "kind": Row(
        N_("There is no such kind of session."), N_("Choose one of the kinds of session offered."), Kind.YOURS
    ),
    "portal": Row(
        N_("No session can be started now: the portal or Slurm has not answered since {time}."),
        N_("Running sessions go on; try again in a minute."),
        Kind.OPERATORS,
    ),
    "slurm-unknown": Row(
        N_("No session can be started now: Slurm has not answered for a while."),
        N_("Running sessions go on; try again in a minute."),
        Kind.OPERATORS,
    ),
    "form": Row(
        N_("Nothing can be started now: the portal does not answer."),
        N_("Running sessions go on; try again in a minute."),
        Kind.OPERATORS,
    ),
    "hub-refused": Row(
        N_("The portal does not accept requests from this hub."),
        N_("Please tell the operators."),
        Kind.OPERATORS,
    ),
    "submission": Row(
        N_("The session could not be submitted, and nothing was charged."),
        N_("Please tell the operators when it was."),
        Kind.OPERATORS,
    ),
    "sbatch": Row(
        N_("Slurm did not accept the session, and nothing was charged. It says: “{said}”."),
        N_("Try again in a minute; if it happens twice, tell the operators."),
        Kind.OPERATORS,
    ),
    "interrupted": Row(
        N_("The session was interrupted before it reached Slurm, and nothing was charged."),
        N_("Please start it again."),
        Kind.YOURS,
    ),
    "busy": Row(
        N_("Too many sessions are starting at this moment."), N_("Try again in a minute."), Kind.WAITS
    ),
    "cancelled": Row(
        N_("The session was cancelled before it was ready."),
        N_("Start another one when you need it."),
        Kind.ENDED,
    ),
    "ended": Row(
        N_("The session ended before it was ready."),
        N_("Try again; if it happens twice, tell the operators when it was."),
        Kind.ENDED,
    ),
    "no-call-back": Row(
        N_("The session started on a node but did not call back."),
        N_("Try again; if it happens twice, tell the operators when it was."),
        Kind.ENDED,
    ),
    "no-answer": Row(
        N_("The session started on a node but does not answer."),
        N_("Try again; if it happens twice, tell the operators when it was."),
        Kind.ENDED,
    ),
    "failed": Row(
        N_("The session could not be started, and nothing was charged."),
        N_("Try again; if it happens twice, tell the operators when it was."),
        Kind.OPERATORS,
    ),
}


# What a program is told that asks over REST; a person may read it in the program's output

ANSWERS: dict[str, Row] = {
    "denied": Row(
        N_("This token may not do that."),
        N_("Use the token of the session itself, or one made on the page of tokens."),
        Kind.YOURS,
    ),
    "too-many": Row(
        N_("Too many bad tokens came from this address."),
        N_("Wait a minute, then use a good one."),
        Kind.YOURS,
    ),
    "not-understood": Row(
        N_("The value of “{field}” was not understood."), N_("Send one of the values offered."), Kind.YOURS
    ),
    "broken": Row(
        N_("Something went wrong in the portal."),
        N_("Try again in a minute; if it happens twice, tell the operators."),
        Kind.OPERATORS,
    ),
    "port-shape": Row(
        N_("The session's port was not understood."),
        N_("Send exactly one number from {lowest} to {highest} under the name “port”."),
        Kind.OPERATORS,
    ),
    "port-unexpected": Row(
        N_("No port is expected from this session."), N_("Start a new session."), Kind.OPERATORS
    ),
    "port-token": Row(
        N_("Only the token of a session may do this."),
        N_("Send the token that the session was given."),
        Kind.OPERATORS,
    ),
}


def find(reason: str) -> Row | None:
    """The row of Slurm's reason as squeue or scontrol prints it, or None."""
    word = _underlined(reason)
    if word in SLURM:
        return SLURM[word]
    name = word.split(",", 1)[0].split("_(", 1)[0]
    if name in SLURM:
        return SLURM[name]
    begins = (row for start, row in SLURM.items() if "_" in start and word.startswith(start.split(",")[0]))
    return _of_limit(name) or next(begins, None)


def _underlined(reason: str) -> str:
    """squeue prints some with blanks, scontrol with underlines."""
    return re.sub(r"\s+", "_", reason.strip())


def _of_limit(name: str) -> Row | None:
    found = _LIMIT.fullmatch(name)
    if not found:
        return None
    scope, thing, time, each = (found[group] or "" for group in ("scope", "thing", "time", "each"))
    time = time.replace("Mins", "Minutes")  # as Slurm 24 writes some of them
    if not time and (scope, thing, each) in JOBS:
        return JOBS[scope, thing, each]
    return FAMILIES.get((scope, time, each)) if thing in RESOURCES else None


def told(reason: str, language: str) -> Told:
    """Slurm's reason in the reader's language; names of nodes stay where Slurm gives them."""
    row = find(reason)
    if row is None:
        return Told(reason, reason, "", None, "", known=False)
    gettext = translator(language).gettext
    limit = _LIMIT.fullmatch(_underlined(reason))
    resource = gettext(RESOURCES[limit["thing"]]) if limit and limit["thing"] in RESOURCES else ""
    what = filled(gettext(row.what), resource=resource)
    if nodes := _NODES.match(_underlined(reason)):
        what = joined([what, filled(gettext(N_("Out of service: {nodes}.")), nodes=nodes[1])], language)
    return Told(_underlined(reason), what, gettext(row.step), row.kind, gettext(KIND_WORDS[row.kind]))


def explain(reason: str, language: str) -> str:
    """What a reason such as `Priority` means, and the next step; the reason itself where it is in no table."""
    words = told(reason, language)
    return joined([words.what, words.step], language)


def say(code: str, language: str, **values: object) -> str:
    """A refusal of the policy, of a start or of a call over REST by its code, with its next step.

    Raises:
        KeyError: there is no such code, or a value is missing.
    """
    row, gettext = refusal(code), translator(language).gettext
    return joined([filled(gettext(text), **values) for text in (row.what, row.step)], language)


def refusal(code: str) -> Row:
    """Raises KeyError where there is no such code."""
    return ({**ANSWERS, **START, **POLICY})[code]


def everything(language: str) -> list[Told]:
    """Every reason of Slurm that the table knows, for the help page; a family once for each resource."""
    names = [name for name in SLURM if name and not name.startswith(("None", "Invaild"))]
    names += [f"QOS{scope}{thing}{time}{each}" for scope, time, each in FAMILIES for thing in _ONCE]
    names += [f"QOS{scope}{thing}{each}Limit" for scope, thing, each in JOBS]
    seen: dict[tuple[str, str], Told] = {}
    for name in names:
        words = told(name, language)
        seen.setdefault((words.what, words.step), words)
    return list(seen.values())


_ONCE = ("Cpu", "GRES", "Memory", "Node", "Billing", "BB", "Energy", "License", "Unknown")


def joined(sentences: list[str], language: str) -> str:
    """Sentences one after the other, as the language writes them."""
    return ("" if language == CHINESE else " ").join(sentence for sentence in sentences if sentence)
