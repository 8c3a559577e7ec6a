"""From what the portal wishes and what slurmdbd holds to calls of sacctmgr."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from portal.client import Wish, WishedGrant
from portal.slurm.wish import Accounting, Association, Qos, accounting, counters, difference

QOS = """normal|1|||||
ga1|2|NoDecay|billing=60000|||
ga2|3|NoDecay,DenyOnLimit|billing=5|0|0|01:30:00
odd|name|9||||
"""
ASSOCIATIONS = """root|||normal||
root|root||normal||
ga1|||normal||
ga1|ann||ga1|ga1|
ga1|bob||ga1|ga1|0
ga1|bob|gpu|ga1|ga1|5
"""
HAVE = accounting(QOS, ASSOCIATIONS)
GRANT = WishedGrant(account="ga1", qos="ga1", minutes=60_000, users=["ann"])


def wish(*grants: WishedGrant) -> Wish:
    return Wish(cluster="aisc", grants=list(grants))


def calls(have: Accounting, *grants: WishedGrant) -> list[str]:
    return [" ".join(call) for call in difference(wish(*grants), have).calls]


def test_what_sacctmgr_shows_is_read() -> None:
    """No limit is None; associations with a partition are not ours."""
    assert HAVE.qos["ga1"] == Qos(2, True, 60_000, None, None, None)
    assert HAVE.qos["ga2"] == Qos(3, True, 5, 0, 0, 90)
    assert HAVE.accounts == {"root", "ga1"}
    assert HAVE.associations["ga1", "bob"] == Association("ga1", "ga1", 0)


def test_nothing_to_do_is_no_call() -> None:
    """Applying a second time costs nothing; somebody who left and is closed already stays as he is."""
    assert calls(HAVE, GRANT) == []


def test_a_new_grant_has_its_limits_before_anybody_may_use_it() -> None:
    """QOS, then credits, then account, then people."""
    assert calls(Accounting(), GRANT) == [
        "add qos ga1 Flags=NoDecay",
        "modify qos where name=ga1 set GrpTRESMins=billing=60000",
        "add account ga1 cluster=aisc",
        "add user ann account=ga1 cluster=aisc qos=ga1 defaultqos=ga1",
    ]


def test_several_new_grants_share_calls() -> None:
    """One call makes all QOS, one all accounts, one all people of a grant."""
    others = [WishedGrant(account=f"gx{n}", qos=f"gx{n}", minutes=1, users=["ann", "bob"]) for n in range(3)]
    assert len(calls(Accounting(), *others)) == 2 + 2 * 3


def test_used_up_suspended_and_ended_grants_are_blocked_in_one_call() -> None:
    """GrpSubmitJobs refuses submissions, GrpJobs keeps what waits from starting."""
    blocked = GRANT.model_copy(update={"submit": False, "run": False, "minutes": 0})
    assert calls(HAVE, blocked) == [
        "modify qos where name=ga1 set GrpTRESMins=billing=0 GrpSubmitJobs=0 GrpJobs=0"
    ]


def test_credits_are_raised_before_a_block_is_lifted() -> None:
    """Else a waiting job could start against the old figure."""
    have = replace(HAVE, qos={"ga1": Qos(2, True, 0, 0, 0, None)})
    assert calls(have, GRANT) == [
        "modify qos where name=ga1 set GrpTRESMins=billing=60000",
        "modify qos where name=ga1 set GrpSubmitJobs=-1 GrpJobs=-1",
    ]


def test_the_longest_job_is_set_and_cleared() -> None:
    """In minutes; -1 is no limit."""
    assert calls(HAVE, GRANT.model_copy(update={"max_wall": 60})) == [
        "modify qos where name=ga1 set MaxWall=60"
    ]
    have = replace(HAVE, qos={"ga1": Qos(2, True, 60_000, None, None, 60)})
    assert calls(have, GRANT) == ["modify qos where name=ga1 set MaxWall=-1"]


def test_a_limit_that_the_site_set_stays() -> None:
    """Only 0 is a block of ours."""
    have = replace(HAVE, qos={"ga1": Qos(2, True, 60_000, 50, 20, None)})
    assert calls(have, GRANT) == []


def test_a_qos_that_decays_is_put_right() -> None:
    """Without NoDecay, what was used would be forgotten by and by."""
    have = replace(HAVE, qos={"ga1": Qos(2, False, 60_000, None, None, None)})
    assert calls(have, GRANT) == ["modify qos where name=ga1 set Flags+=NoDecay"]


def test_people_come_leave_and_come_back() -> None:
    """Who leaves keeps a closed association: Slurm kills the jobs of one that is deleted."""
    assert calls(HAVE, GRANT.model_copy(update={"users": ["bob", "cleo"]})) == [
        "add user cleo account=ga1 cluster=aisc qos=ga1 defaultqos=ga1",
        "modify user where name=bob account=ga1 cluster=aisc set MaxSubmitJobs=-1",
        "modify user where name=ann account=ga1 cluster=aisc set MaxSubmitJobs=0",
    ]


def test_another_qos_of_a_person_is_put_right() -> None:
    """The grant's QOS is the only and the default one."""
    have = replace(HAVE, associations={("ga1", "ann"): Association("ga1,normal", "normal", None)})
    assert calls(have, GRANT) == [
        "modify user where name=ann account=ga1 cluster=aisc set qos=ga1 defaultqos=ga1"
    ]


def test_names_that_are_not_ours_are_never_touched() -> None:
    """A wish for `root` is named as a fault; the other grants are carried out all the same."""
    wrong = [
        WishedGrant(account=account, qos=qos, minutes=1, users=["ann"])
        for account, qos in [("root", "root"), ("ga1", "normal"), ("g a", "g a"), ("gA,normal", "gA,normal")]
    ]
    plan = difference(wish(*wrong, GRANT.model_copy(update={"minutes": 1})), HAVE)

    assert [" ".join(call) for call in plan.calls] == ["modify qos where name=ga1 set GrpTRESMins=billing=1"]
    assert len(plan.faults) == 4


def test_a_strange_unix_user_is_left_out() -> None:
    """A comma in a name would name somebody else too."""
    plan = difference(wish(GRANT.model_copy(update={"users": ["ann", "x,root", "a b", ""]})), HAVE)
    assert (plan.calls, len(plan.faults)) == ((), 3)


def test_accounts_that_the_wish_does_not_name_are_left_alone() -> None:
    """Another account may begin with g as well."""
    assert calls(HAVE) == []


def test_counters_are_the_ids_of_our_qos() -> None:
    """A QOS made anew has a new id, and its use counts from nothing."""
    assert counters(HAVE, wish(GRANT, WishedGrant(account="gnew", qos="gnew", minutes=1))) == {"ga1": 2}


names = st.sampled_from(["ga", "gb", "gc"])
grants = st.builds(
    WishedGrant,
    account=names,
    qos=names,
    minutes=st.integers(0, 10**13),
    submit=st.booleans(),
    run=st.booleans(),
    users=st.lists(st.sampled_from(["ann", "bob", "cleo"])),
    max_wall=st.none() | st.integers(1, 20_000),
).map(lambda grant: grant.model_copy(update={"qos": grant.account}))


def perform(have: Accounting, call: tuple[str, ...]) -> Accounting:
    """What slurmdbd holds after one call, as far as this module uses sacctmgr."""
    settings = dict(word.split("=", 1) for word in call if "=" in word)
    match call[:2]:
        case ("add", "qos"):
            new = {
                name: Qos(len(have.qos) + n, True, None, None, None, None)
                for n, name in enumerate(call[2].split(","))
            }
            return replace(have, qos=have.qos | new)
        case ("add", "account"):
            return replace(have, accounts=have.accounts | set(call[2].split(",")))
        case ("add", "user"):
            account, qos = settings["account"], settings["qos"]
            assert account in have.accounts and have.qos[qos].minutes is not None
            new_users = {(account, user): Association(qos, qos, None) for user in call[2].split(",")}
            return replace(have, associations=have.associations | new_users)
        case ("modify", "qos"):
            return replace(
                have, qos=have.qos | {settings["name"]: _changed(have.qos[settings["name"]], settings)}
            )
    users = {(settings["account"], user) for user in settings["name"].split(",")}
    assert call[:2] == ("modify", "user") and users <= have.associations.keys()
    submit = {"-1": None, "0": 0}[settings["MaxSubmitJobs"]]
    return replace(
        have,
        associations=have.associations
        | {key: replace(have.associations[key], submit=submit) for key in users},
    )


def _changed(qos: Qos, settings: dict[str, str]) -> Qos:
    def limit(name: str, now: int | None) -> int | None:
        value = int(settings[name]) if name in settings else now
        return None if value == -1 else value

    minutes = (
        int(settings["GrpTRESMins"].removeprefix("billing=")) if "GrpTRESMins" in settings else qos.minutes
    )
    return replace(
        qos,
        minutes=minutes,
        submit=limit("GrpSubmitJobs", qos.submit),
        run=limit("GrpJobs", qos.run),
        max_wall=limit("MaxWall", qos.max_wall),
    )


@given(wishes=st.lists(st.lists(grants, max_size=3, unique_by=lambda grant: grant.account), max_size=4))
def test_one_wish_after_another_is_reached_and_then_rests(wishes: list[list[WishedGrant]]) -> None:
    """After the calls nothing is left to do; no negative credit, nothing deleted, whatever the wishes were."""
    have = Accounting()
    for wished in wishes:
        for call in difference(wish(*wished), have).calls:
            assert "delete" not in call and not any("billing=-" in word for word in call)
            have = perform(have, call)
        assert difference(wish(*wished), have).calls == ()
        for grant in wished:
            assert have.qos[grant.qos].minutes == grant.minutes
            assert (have.qos[grant.qos].submit, have.qos[grant.qos].run) == (
                None if grant.submit else 0,
                None if grant.run else 0,
            )
            mine = {
                user: a.submit for (account, user), a in have.associations.items() if account == grant.account
            }
            assert {user for user, submit in mine.items() if submit is None} == set(grant.users)
