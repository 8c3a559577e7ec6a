"""From looks at Slurm to charges: bound, committed, booked once, whatever is repeated or lost."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal import settings as settings_module
from portal.client import FinishedJob, JobReport, LiveJob, SessionRequest, View
from portal.grants import Category, Grant, Membership, Organisation, Role, committed
from portal.ledger import Entry, Kind, faults
from portal.pricing import Price
from portal.service import documents, frame, internal, pages, views
from portal.service.admission import RefusedStart, SlurmUnknown, claims, offering, request
from portal.service.booking import LAPSE_SECONDS, SETTLE_SECONDS, book, see
from portal.service.desk import Desk
from portal.service.views import gpus_of
from portal.service.wishes import wish
from portal.service.words import Words
from portal.settings import Database, Site
from portal.store import Store, books, connect, migrate, people, programme, register
from portal.units import GPU_HOUR

NOW = 1_790_000_000
GRANT = Grant("G-1", "Proteins", "uni", "life", "research", NOW - 1000, NOW + 10**6, "C-12", 3000, 7000)
OTHER = replace(GRANT, code="G-2", title="Metals")
UNIX = "shared"


class At(Desk):
    """A desk whose clock stands where the test puts it."""

    time = NOW

    def now(self) -> int:
        return self.time


@pytest.fixture
def desk(tmp_path: Path, database: Database) -> Iterator[At]:
    settings = settings_module.load(
        environ={"PORTAL_SLURM__ACCOUNTS": "shared", "PORTAL_SLURM__SHARED_USER": UNIX}
    ).model_copy(update={"home": tmp_path, "database": database})
    engine = connect(settings.database_url)
    migrate(engine)
    desk = At(settings, Store(engine))
    with desk.store.write() as db:
        programme.add_organisation(db, Organisation("uni", "University", "大學", Category.INSTITUTION))
        for grant in (GRANT, OTHER):
            programme.add_grant(db, grant)
            amount = 10 * GPU_HOUR
            books.append(
                db, Entry(f"award:{grant.code}", grant.code, Kind.AWARD, amount, Price(0, 0), NOW, NOW)
            )
        for person in ("p1", "p2"):
            people.record(db, people.Person(person, "iss", person, UNIX, person, "", frozenset()), NOW)
            programme.add_membership(db, Membership("G-1", person, Role.MEMBER, NOW - 1000))
    for person in ("p1", "p2", "p9"):
        documents.accept(desk, person, "")
    see(desk, look(NOW))
    yield desk
    engine.dispose()


def look(at: float, *jobs: LiveJob) -> View:
    return View(cluster="aisc", at=at, jobs=list(jobs), nodes=[])


def job(id: int = 7, name: str = "train", **changes: object) -> LiveJob:
    base = LiveJob(
        id=id,
        submit=NOW,
        name=name,
        user=UNIX,
        account=GRANT.account,
        qos=GRANT.account,
        partition="gpu",
        state="RUNNING",
        billing=1000,
        limit_seconds=3600,
        start=NOW,
    )
    return base.model_copy(update=changes)


def ended(id: int = 7, name: str = "train", **changes: object) -> FinishedJob:
    base = FinishedJob(
        cluster="aisc",
        id=id,
        submit=NOW,
        start=NOW,
        end=NOW + 100,
        elapsed=100,
        state="COMPLETED",
        user=UNIX,
        account=GRANT.account,
        qos=GRANT.account,
        name=name,
        billing=1000,
    )
    return base.model_copy(update=changes)


def ask(person: str = "p1", **changes: object) -> SessionRequest:
    return SessionRequest(person=person, grant="G-1", size="gpu1", minutes=60).model_copy(update=changes)


def committed_of(desk: Desk, code: str = "G-1") -> int:
    with desk.store.read() as db:
        return committed(claims(db, programme.grants(db)).get(code, []))


def balance_of(desk: Desk, code: str = "G-1") -> int:
    with desk.store.read() as db:
        return books.balances(db)[code]


def test_an_admitted_session_is_committed_before_slurm_knows_it(desk: At) -> None:
    """Registered is committed, at its maximum."""
    admitted = request(desk, ask())
    assert (admitted.account, admitted.qos, admitted.gres) == ("gg1", "gg1", "gpu:h800:1")
    assert committed_of(desk) == GPU_HOUR


def test_of_two_who_ask_for_the_last_hours_one_is_admitted(desk: At) -> None:
    """The second is told why."""
    request(desk, ask(minutes=480))
    with pytest.raises(RefusedStart) as refused:
        request(desk, ask("p2", minutes=240))
    assert refused.value.refusal.code == "too-dear"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (ask(grant="G-2"), "grant"),
        (ask(grant="G-9"), "grant"),
        (ask(size="gpu64"), "size"),
        (ask(minutes=61), "minutes"),
        (ask(minutes=-60), "minutes"),
        (ask("p9"), "grant"),
    ],
)
def test_what_was_not_offered_is_refused_with_the_field(desk: At, asked: SessionRequest, field: str) -> None:
    """Other grant, other person's grant, other size, odd time, unknown person."""
    with pytest.raises(RefusedStart) as refused:
        request(desk, asked)
    assert refused.value.refusal.field == field
    assert committed_of(desk) == 0


def test_nobody_starts_what_costs_more_than_they_were_shown(desk: At) -> None:
    """A form that came before a change, of the choice or of the price, is refused and says the price."""
    seen = offering(desk, "p1", Words(desk.settings, "en")).quotes["G-1"]["gpu1"][60].own_cents
    with pytest.raises(RefusedStart) as refused:
        request(desk, ask(minutes=120, most=seen))
    assert refused.value.refusal.field == "most"
    assert Words(desk.settings, "en").money(2 * seen) in Words(desk.settings, "en").refusal(
        refused.value.refusal
    )
    assert request(desk, ask(most=seen)).minutes == 60


def test_nothing_is_admitted_on_an_old_look_at_slurm(desk: At) -> None:
    """Starts fail closed."""
    desk.time = NOW + 120
    with pytest.raises(SlurmUnknown):
        request(desk, ask())


def test_a_session_and_its_job_are_committed_once(desk: At) -> None:
    """The job takes the place of its session, it does not come on top."""
    admitted = request(desk, ask())
    see(desk, look(NOW + 5, job(name=admitted.job_name)))
    assert committed_of(desk) == GPU_HOUR


def test_a_job_of_another_user_does_not_take_a_session(desk: At) -> None:
    """By name only if account, QOS and Unix user are those registered."""
    admitted = request(desk, ask())
    see(desk, look(NOW + 5, job(name=admitted.job_name, user="mallory")))
    with desk.store.read() as db:
        found = register.session(db, admitted.id)
    assert found and found.job is None


def test_the_first_job_of_a_name_wins(desk: At) -> None:
    """A second one is an ordinary job."""
    admitted = request(desk, ask())
    see(desk, look(NOW + 5, job(name=admitted.job_name), job(8, name=admitted.job_name)))
    with desk.store.read() as db:
        found = register.session(db, admitted.id)
        assert found and found.job == 7
        assert [one.session for one in books.open_jobs(db)] == [admitted.id, None]


def test_a_registration_without_a_job_lapses_and_its_late_job_is_cancelled(desk: At) -> None:
    """Five minutes after asking, in a look begun then."""
    admitted = request(desk, ask())
    see(desk, look(NOW + LAPSE_SECONDS - 1))
    assert committed_of(desk) == GPU_HOUR
    see(desk, look(NOW + LAPSE_SECONDS))
    assert committed_of(desk) == 0
    see(desk, look(NOW + 900, job(name=admitted.job_name)))
    assert wish(desk).cancel == [7]


def test_who_asks_again_has_given_up_what_never_got_a_job(desk: At) -> None:
    """The hub waited too long for our answer and told its person to try again: committed once, not twice."""
    lost = request(desk, ask())
    desk.time = NOW + 10
    again = request(desk, ask())
    assert committed_of(desk) == GPU_HOUR
    see(desk, look(NOW + 15, job(name=again.job_name), job(8, name=lost.job_name)))
    assert wish(desk).cancel == [8]


def test_asking_again_leaves_a_session_with_a_job_alone(desk: At) -> None:
    """Its job may still run, so it may still cost."""
    admitted = request(desk, ask())
    internal.report_job(admitted.id, JobReport(job=7), desk)
    request(desk, ask())
    assert committed_of(desk) == 2 * GPU_HOUR


def test_only_the_newest_session_is_what_the_hub_would_stop(desk: At) -> None:
    """Stop on the page of an older one must not end the one that runs."""
    old = request(desk, ask())
    internal.report_job(old.id, JobReport(job=7), desk)
    desk.time = NOW + 10
    new = request(desk, ask())
    assert not pages._is_at_the_hub(desk, "p1", old.id)
    assert pages._is_at_the_hub(desk, "p1", new.id)
    with pytest.raises(frame.Missing):
        pages._is_at_the_hub(desk, "p2", new.id)


def test_who_has_left_a_grant_sees_nothing_of_it_any_more(desk: At) -> None:
    """Nor is anything offered."""
    with desk.store.write() as db:
        programme.add_membership(db, Membership("G-2", "p1", Role.MEMBER, NOW - 1000, ends=NOW + 5))
    words = Words(desk.settings, "en")
    assert [grant.code for grant in views.allocation(desk, "p1", words).grants] == ["G-1", "G-2"]
    desk.time = NOW + 5
    assert [grant.code for grant in views.allocation(desk, "p1", words).grants] == ["G-1"]
    assert [grant.code for grant in offering(desk, "p1", words).grants] == ["G-1"]


def test_a_failed_submission_commits_nothing(desk: At) -> None:
    """The hub says that there is no job."""
    admitted = request(desk, ask())
    internal.report_failed(admitted.id, desk)
    assert committed_of(desk) == 0


def test_a_job_reported_but_never_seen_is_asked_for(desk: At) -> None:
    """It ended between two looks."""
    admitted = request(desk, ask())
    internal.report_job(admitted.id, JobReport(job=7), desk)
    assert see(desk, look(NOW + 5)) == []
    missing = see(desk, look(NOW + SETTLE_SECONDS))
    assert [(one.id, one.submit) for one in missing] == [(7, 0)]
    book(desk, [ended(name=admitted.job_name)])
    assert see(desk, look(NOW + 60)) == []
    assert committed_of(desk) == 0


def test_a_gone_job_commits_what_it_had_used_until_it_is_booked(desk: At) -> None:
    """Billing x elapsed as last seen."""
    see(desk, look(NOW + 50, job()))
    missing = see(desk, look(NOW + 103))
    assert [(one.id, one.submit) for one in missing] == [(7, NOW)]
    assert committed_of(desk) == 1000 * 50
    book(desk, [ended()])
    assert committed_of(desk) == 0
    assert balance_of(desk) == 10 * GPU_HOUR - 100_000


def test_a_job_is_charged_once_however_often_it_is_told(desk: At) -> None:
    """Any order, any number of times."""
    outcomes = [book(desk, [ended()])[0].outcome for _ in range(3)]
    see(desk, look(NOW + 200, job()))
    book(desk, [ended()])
    assert outcomes == ["booked", "already", "already"]
    assert balance_of(desk) == 10 * GPU_HOUR - 100_000


def test_a_requeued_job_is_charged_for_each_run(desk: At) -> None:
    """Same id, new submit time: another line."""
    book(desk, [ended(), ended(submit=NOW + 500, start=NOW + 500, end=NOW + 510, elapsed=10)])
    assert balance_of(desk) == 10 * GPU_HOUR - 110_000


def test_a_job_that_never_ran_leaves_no_line(desk: At) -> None:
    """Cancelled while waiting."""
    see(desk, look(NOW + 5, job(state="PENDING", start=None, billing=0)))
    see(desk, look(NOW + 9))
    assert book(desk, [ended(elapsed=0, state="CANCELLED")])[0].outcome == "booked"
    assert see(desk, look(NOW + 12)) == []
    assert balance_of(desk) == 10 * GPU_HOUR


def test_a_job_of_an_unknown_account_is_put_aside(desk: At) -> None:
    """Reported, not lost and not charged to anybody."""
    answer = book(desk, [ended(account="root")])[0]
    assert (answer.outcome, answer.why) == ("aside", "no grant has the account 'root'")


def test_a_pending_job_from_the_command_line_commits_nothing(desk: At) -> None:
    """Only what runs, and what was admitted here."""
    see(desk, look(NOW + 5, job(state="PENDING", start=None, billing=0)))
    assert committed_of(desk) == 0


def test_a_session_is_charged_to_its_person(desk: At) -> None:
    """The register knows who, even where all share one Unix user."""
    admitted = request(desk, ask("p2"))
    see(desk, look(NOW + 5, job(name=admitted.job_name)))
    see(desk, look(NOW + 105))
    book(desk, [ended(name=admitted.job_name)])
    with desk.store.read() as db:
        line = books.find(db, f"charge:aisc:7:{NOW}")
        assert line and line.person == "p2"
        assert list(faults(books.chain(db))) == []
        over = register.session(db, admitted.id)
        assert over and over.outcome == "ended"


def person_of(desk: Desk, key: str = f"charge:aisc:7:{NOW}") -> str | None:
    with desk.store.read() as db:
        line = books.find(db, key)
        return line.person if line else None


def test_a_session_that_ran_while_the_portal_was_away_is_its_persons(desk: At) -> None:
    """Admitted, then the portal dies; when it is back the job is over and the registration has lapsed."""
    admitted = request(desk, ask("p2"))
    see(desk, look(NOW + LAPSE_SECONDS + 60))
    internal.report_job(admitted.id, JobReport(job=7), desk)
    book(desk, [ended(name=admitted.job_name)])
    assert person_of(desk) == "p2"
    with desk.store.read() as db:
        assert [one.id for one in books.jobs_of_session(db, admitted.id)] == [7]


def test_a_requeued_session_stays_its_persons(desk: At) -> None:
    """The first run ends the session; what the same job runs further is no stranger's."""
    admitted = request(desk, ask("p2"))
    again = job(name=admitted.job_name, submit=NOW + 50, start=NOW + 60)
    see(desk, look(NOW + 5, job(name=admitted.job_name)))
    see(desk, look(NOW + 55, again))
    see(desk, look(NOW + 65, again))
    book(desk, [ended(name=admitted.job_name)])
    book(desk, [ended(name=admitted.job_name, submit=NOW + 50, start=NOW + 60, end=NOW + 160)])
    assert person_of(desk) == person_of(desk, f"charge:aisc:7:{NOW + 50}") == "p2"


def test_a_session_moved_to_another_grant_commits_nothing_once_it_is_over(desk: At) -> None:
    """Slurm lets its owner change the account while it waits: the other grant pays, the person stays."""
    admitted = request(desk, ask("p2"))
    internal.report_job(admitted.id, JobReport(job=7), desk)
    moved: dict[str, Any] = {"name": admitted.job_name, "account": OTHER.account, "qos": OTHER.account}
    see(desk, look(NOW + 5, job(**moved)))
    assert (committed_of(desk, "G-1"), committed_of(desk, "G-2")) == (0, GPU_HOUR)
    see(desk, look(NOW + 105))
    book(desk, [ended(**moved)])
    assert (committed_of(desk, "G-1"), committed_of(desk, "G-2")) == (0, 0)
    assert person_of(desk) == "p2"
    assert balance_of(desk, "G-2") == 10 * GPU_HOUR - 100_000


def test_a_session_moved_out_of_all_grants_ends_with_its_job(desk: At) -> None:
    """Its record is put aside, and nothing stays committed for ever."""
    admitted = request(desk, ask())
    internal.report_job(admitted.id, JobReport(job=7), desk)
    missing = see(desk, look(NOW + SETTLE_SECONDS + 1))
    assert [one.id for one in missing] == [7]
    assert book(desk, [ended(name=admitted.job_name, account="overhead")])[0].outcome == "aside"
    assert committed_of(desk) == 0
    assert see(desk, look(NOW + 60)) == []


def test_a_job_booked_before_its_session_is_known_ends_the_session(desk: At) -> None:
    """Renamed by its owner and reported late: asked for by id, and already booked."""
    admitted = request(desk, ask())
    book(desk, [ended(name="mine")])
    internal.report_job(admitted.id, JobReport(job=7), desk)
    assert [one.id for one in see(desk, look(NOW + SETTLE_SECONDS + 1))] == [7]
    assert book(desk, [ended(name="mine")])[0].outcome == "already"
    assert committed_of(desk) == 0


def test_a_look_that_arrives_late_changes_nothing(desk: At) -> None:
    """An older look knows no job of today; taken in, it would end every session."""
    admitted = request(desk, ask())
    desk.time = NOW + 60
    see(desk, look(NOW + 50, job(name=admitted.job_name)))
    assert see(desk, look(NOW + 20)) == []
    with desk.store.read() as db:
        found = register.session(db, admitted.id)
        assert found and found.ended is None
    assert desk.view and desk.view.at == NOW + 50


def test_a_clock_put_back_does_not_stop_the_looks(desk: At) -> None:
    """The last look lies in the future then, and counts no more."""
    see(desk, look(NOW + 3600))
    see(desk, look(NOW + 1, job()))
    assert desk.view and [one.id for one in desk.view.jobs] == [7]


def test_an_overrun_is_booked_and_shown_below_zero(desk: At) -> None:
    """Never clipped."""
    book(desk, [ended(elapsed=40_000)])
    assert balance_of(desk) == 10 * GPU_HOUR - 40_000_000


def test_the_limit_in_slurm_stays_as_it_is_when_a_job_is_booked(desk: At) -> None:
    """Balance and counted use move together (accounting.md, credits)."""
    with desk.store.write() as db:
        books.set_counter(db, "aisc", GRANT.account, 5)
    before = wish(desk).grants[0].minutes
    book(desk, [ended()])
    assert before == 600_000
    assert wish(desk).grants[0].minutes == before


def test_a_used_up_grant_takes_no_submission(desk: At) -> None:
    """And still lets run what runs."""
    book(desk, [ended(elapsed=36_000)])
    first = wish(desk).grants[0]
    assert (first.submit, first.run) == (False, True)


def test_who_has_no_grant_is_offered_nothing_but_whom_to_ask(desk: At) -> None:
    """One sentence."""
    shown = offering(desk, "p9", Words(desk.settings, "en"))
    assert (shown.grants, shown.quotes) == ([], {})
    assert desk.settings.site.contact in shown.refusal


def test_who_has_not_accepted_the_terms_starts_nothing(desk: At) -> None:
    """The form is closed, and a request by hand is refused as well; a new version of the terms asks again."""
    for changed in (desk, At(desk.settings.model_copy(update={"site": Site(terms_version="2")}), desk.store)):
        who = "p8" if changed is desk else "p1"
        assert "terms" in offering(changed, who, Words(desk.settings, "en")).refusal
        with pytest.raises(RefusedStart) as refused:
            request(changed, ask(who))
        assert refused.value.refusal.code == "terms-not-accepted"


def test_every_choice_of_the_form_has_its_price_and_refusal(desk: At) -> None:
    """What the form shows is what admission will say."""
    shown = offering(desk, "p1", Words(desk.settings, "en"))
    assert shown.quotes["G-1"]["gpu1"][60].amount == GPU_HOUR
    assert shown.quotes["G-1"]["gpu1"][60].list_cents == 3000
    assert 1440 in shown.refusals["G-1"]["gpu1"]
    assert 60 not in shown.refusals["G-1"]["gpu1"]
    assert shown.hourly["G-1"]["gpu1"] == shown.quotes["G-1"]["gpu1"][60].own_cents


def test_a_job_without_a_record_for_a_day_is_put_aside_and_stays_committed(desk: At) -> None:
    """It delays no other job, and nobody gets its hours back by chance."""
    see(desk, look(NOW + 50, job()))
    desk.time = NOW + 90_000
    assert [one.id for one in see(desk, look(NOW + 60))] == [7]
    assert see(desk, look(NOW + 50 + 24 * 3600)) == []
    assert committed_of(desk) == 1000 * 50
    assert book(desk, [ended()])[0].outcome == "booked"


@pytest.mark.parametrize(
    ("tres", "shards", "gpus"),
    [
        ("cpu=4,gres/gpu=2,gres/gpu:h800=2", 4, 2),
        ("cpu=4,gres/shard=1", 4, 0.25),
        ("cpu=4,gres/shard=1", 8, 0.125),
        ("cpu=4,gres/shard=1", 0, 0),
        ("cpu=4", 4, 0),
        ("gres/gpu=x,,=", 4, 0),
    ],
)
def test_a_job_holds_gpus_by_its_nodes_own_count_of_shards(tres: str, shards: int, gpus: float) -> None:
    """Another centre may cut a GPU into eight."""
    assert gpus_of(tres, shards) == gpus
