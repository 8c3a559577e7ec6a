"""The run-out day: from a pace that anybody can work out by hand, never promised where there is nothing to judge by."""

from hypothesis import given
from hypothesis import strategies as st

from portal.forecast import DAY, LONGER_DAYS, RECENT_DAYS, Forecast, Outlook, forecast
from portal.units import GPU_HOUR

TODAY = 20_000 * DAY
NOW = TODAY + DAY // 2
FAR = TODAY + 10_000 * DAY


def days(*spent: int) -> list[tuple[int, int]]:
    """What was spent on each day up to and including today."""
    first = TODAY - (len(spent) - 1) * DAY
    return [(first + n * DAY, amount) for n, amount in enumerate(spent)]


def judged(history: list[tuple[int, int]], left: int, starts: int = 0, ends: int = FAR) -> Forecast:
    return forecast(history, left, starts, ends, NOW)


def test_an_even_pace_gives_one_day() -> None:
    """Ten GPU-hours a day, a hundred left: ten days."""
    found = judged(days(*[10 * GPU_HOUR] * 42, 0), 100 * GPU_HOUR)
    assert found.outlook is Outlook.RUNS_OUT
    assert found.day == found.earliest == found.latest == NOW + 10 * DAY
    assert found.recent == found.longer == 10 * GPU_HOUR


def test_today_is_not_over_and_does_not_count() -> None:
    """However much or little it has used so far."""
    calm = [10 * GPU_HOUR] * 42
    assert judged(days(*calm, 0), GPU_HOUR) == judged(days(*calm, 900 * GPU_HOUR), GPU_HOUR)


def test_a_change_of_pace_becomes_a_range() -> None:
    """Twenty a day lately, ten on the whole: between five and ten days, by the mean of both 6.7."""
    early = (42 * 10 - 14 * 20) // 28
    found = judged(days(*[early * GPU_HOUR] * 28, *[20 * GPU_HOUR] * 14, 0), 100 * GPU_HOUR)
    assert found.earliest == NOW + 5 * DAY
    assert found.day and found.latest and found.earliest < found.day < found.latest


def test_without_use_in_two_weeks_there_is_no_forecast() -> None:
    """Old use says nothing about tomorrow."""
    found = judged(days(*[GPU_HOUR] * 28, *[0] * RECENT_DAYS, GPU_HOUR), GPU_HOUR)
    assert (found.outlook, found.day) == (Outlook.UNUSED, None)


def test_a_young_grant_is_judged_by_the_days_it_has() -> None:
    """Three days old and nine GPU-hours used is three a day, not nine in six weeks."""
    found = judged(days(*[0] * 39, *[3 * GPU_HOUR] * 3, 0), 30 * GPU_HOUR, starts=TODAY - 3 * DAY)
    assert found.day == NOW + 10 * DAY


def test_beyond_the_end_no_day_is_named() -> None:
    """It ends first."""
    found = judged(days(*[GPU_HOUR] * 42, 0), 100 * GPU_HOUR, ends=NOW + 50 * DAY)
    assert (found.outlook, found.day) == (Outlook.BEYOND, None)


def test_nothing_left_is_over() -> None:
    assert judged(days(*[GPU_HOUR] * 42, 0), 0).outlook is Outlook.OVER
    assert judged([], -5).outlook is Outlook.OVER


amounts = st.integers(min_value=0, max_value=10**14)
histories = st.lists(st.integers(min_value=-(10**9), max_value=10**13), max_size=60)


@given(histories, amounts, st.integers(min_value=0, max_value=90), st.integers(min_value=0, max_value=10**6))
def test_every_forecast_is_in_order_and_inside_the_grant(
    spent: list[int], left: int, age: int, ends_in: int
) -> None:
    """Refunds included: earliest, day, latest; none of them in the past or after the end."""
    ends = NOW + ends_in * 60
    found = judged(days(*spent) if spent else [], left, TODAY - age * DAY, ends)
    named = [at for at in (found.earliest, found.day, found.latest) if at is not None]
    assert named == sorted(named)
    assert all(NOW <= at < ends for at in named)
    assert (found.day is not None) == (found.outlook is Outlook.RUNS_OUT)


@given(histories.filter(lambda spent: len(spent) > 1), amounts, amounts)
def test_more_left_never_runs_out_sooner(spent: list[int], left: int, more: int) -> None:
    """Up to where neither ends before the grant does."""
    one, other = judged(days(*spent), left), judged(days(*spent), left + more)
    if one.day is not None and other.day is not None:
        assert one.day <= other.day


@given(st.integers(min_value=1, max_value=10**10), st.integers(min_value=1, max_value=LONGER_DAYS))
def test_an_even_pace_is_found_whatever_the_age(pace: int, age: int) -> None:
    """Days before the grant began are no days of no use."""
    found = judged(days(*[0] * (60 - age), *[pace] * age, 0), 7 * pace, starts=TODAY - age * DAY)
    assert found.day == NOW + 7 * DAY
