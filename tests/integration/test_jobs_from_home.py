"""Home on the real thing: a job from a shell is seen with its cost, cancelled, and charged once."""

from __future__ import annotations

import re
import sqlite3
import time

from conftest import Stack, signed_in
from playwright.sync_api import Browser, Locator, Page, expect
from waiting import until

ACCOUNT = "gaiss20260001"
CANCELLED_WITHIN = 12.0
"""Seconds: a round of the wish, scancel, and slurmctld on a busy machine."""


def submit(stack: Stack, name: str, *arguments: str) -> str:
    """The id of a job submitted as from a shell."""
    command = ("sbatch", "--parsable", "-A", ACCOUNT, "-p", "gpu", "-t", "30", "-J", name, *arguments)
    return stack.cluster.run(*command, "--wrap", "sleep 600").strip()


def queued(stack: Stack) -> list[str]:
    """Id and state of each job in the queue, as `7_3 RUNNING`."""
    return stack.cluster.run("squeue", "-h", "-r", "-o", "%i %T").splitlines()


def charges(stack: Stack, job: str) -> list[int]:
    """Milli-GPU-seconds of each charge of a job."""
    connection = sqlite3.connect(f"file:{stack.home}/portal.db?mode=ro", uri=True)
    try:
        query = "select -amount from entry where key like ?"
        return [row[0] for row in connection.execute(query, (f"charge:aisc:{job}:%",))]
    finally:
        connection.close()


def line(page: Page, name: str) -> Locator:
    return page.locator("#live li", has_text=name)


def test_a_job_from_a_shell_is_cancelled_from_home_and_charged_once(browser: Browser, stack: Stack) -> None:
    """Seen with cost, asked about, gone from Slurm within seconds, one charge equal to what Slurm recorded."""
    with signed_in(browser, stack, "pi") as context:
        page = context.pages[0]
        job = submit(stack, "from-home", "--gres=gpu:h800:1")
        try:
            expect(line(page, "from-home")).to_contain_text(
                re.compile("own share HK.* so far"), timeout=20_000
            )
            line(page, "from-home").get_by_role("link", name="Cancel").click()
            expect(page.get_by_role("heading", name=f"Cancel job {job}?")).to_be_visible()
            page.get_by_role("link", name="Keep it").click()
            assert f"{job} RUNNING" in queued(stack)

            line(page, "from-home").get_by_role("link", name="Cancel").click()
            asked = time.monotonic()
            page.get_by_role("button", name="Cancel job").click()
            until(lambda: f"{job} RUNNING" not in queued(stack), 30, "the job is not cancelled")
            took = time.monotonic() - asked
            assert took < CANCELLED_WITHIN
            expect(page.get_by_text("The job has ended and its charge is booked.")).to_be_visible(
                timeout=60_000
            )
        finally:
            stack.cluster.run("scancel", job)
        page.goto(f"{stack.settings.web.service_origin('portal')}/services/portal/")
        expect(page.locator("table.table")).to_contain_text("from-home")
        record = stack.cluster.run("sacct", "-nPXj", job, "-o", "elapsedraw,state")
        elapsed, state = record.strip().split("|")
        assert state.startswith("CANCELLED")
        assert charges(stack, job) == [1000 * int(elapsed)]


def test_the_waiting_rest_of_an_array_is_cancelled_and_its_running_task_goes_on(
    browser: Browser, stack: Stack
) -> None:
    """The number of the array stands for both in scancel."""
    array = submit(stack, "sweep", "--gres=gpu:h800:1", "--array=1-5%1")
    try:
        with signed_in(browser, stack, "pi") as context:
            page = context.pages[0]
            waiting = line(page, "sweep").filter(has_text="4 tasks")
            waiting.get_by_role("button", name="Cancel").click(timeout=20_000)
            until(lambda: queued(stack) == [f"{array}_1 RUNNING"], 30, "the rest is not cancelled")
    finally:
        stack.cluster.run("scancel", array)
    until(lambda: not queued(stack), 30, "the array does not end")


def test_a_session_starts_in_one_press_and_again_as_last_time(browser: Browser, stack: Stack) -> None:
    """From home without the form; refused, it says why on home."""
    with signed_in(browser, stack, "instructor") as context:
        page = context.pages[0]
        home = f"{stack.settings.web.service_origin('portal')}/services/portal/"
        page.goto(home)
        # what it is depends on what this person started last
        expect(page.locator("#now")).to_contain_text(re.compile(r"You can start .+ now"))
        page.click("#start-again")
        page.wait_for_url(re.compile("/spawn-pending/|/lab"), wait_until="commit")
        until(lambda: bool(queued(stack)), 30, "no job was submitted")
        page.goto(home)
        expect(page.locator("#now")).to_contain_text("Your notebook is running", timeout=30_000)
        expect(page.locator("#stop-now")).to_be_visible()
        page.click("#stop-now")
        until(lambda: not queued(stack), 60, "the session does not stop")
        expect(page.locator("#start-again")).to_contain_text("Start again", timeout=60_000)
        page.goto(home)
        expect(page.locator("#start-again")).to_have_text("Start as last time")
        page.locator("input[name=minutes]").evaluate("field => field.value = 7")
        page.click("#start-again")
        expect(page.get_by_role("alert")).to_contain_text("is not offered here")
        assert not queued(stack)
