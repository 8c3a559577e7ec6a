"""Figures, dates and refusals as one reader sees them."""

from __future__ import annotations

import unicodedata

from portal import reasons
from portal.forecast import Forecast, told
from portal.locale import CHINESE, N_, html_lang, translator
from portal.policy import Refusal
from portal.settings import Settings
from portal.sizes import Size
from portal.units import clock, date_words, day_of, gpu_hours, moment, money

STATES = {
    "draft": N_("Draft"),
    "not-started": N_("Not started yet"),
    "active": N_("Active"),
    "exhausted": N_("Used up"),
    "closing": N_("Ended, last jobs being booked"),
    "suspended": N_("Suspended"),
    "expired": N_("Ended"),
    "closed": N_("Closed"),
}
ROLES = {"pi": N_("Principal investigator"), "manager": N_("Manager"), "member": N_("Member")}
LONGEST_NAME = 60
AMOUNTS = {"cost", "available", "cap", "used"}
SUMS = {"own"}
INSTANTS = {"starts", "ends"}


class Words:
    """One language and the settings of the site."""

    def __init__(self, settings: Settings, language: str) -> None:
        self.language = language
        self.lang = html_lang(language)
        self.chinese = language == CHINESE
        self._settings = settings
        translations = translator(language)
        self.gettext = translations.gettext
        self.ngettext = translations.ngettext

    @property
    def site_name(self) -> str:
        site = self._settings.site
        return site.name_zh if self.chinese else site.name

    def hours(self, amount: int) -> str:
        """Milli-GPU-seconds as GPU-hours with one decimal, without the unit."""
        return gpu_hours(amount)

    def money(self, cents: int) -> str:
        return money(cents, self._settings.site.currency)

    def date(self, at: int) -> str:
        return date_words(at, self._settings.site.timezone, self.language)

    def last_day(self, end: int) -> str:
        """The last day inside a period that ends at this instant: 24:00 of 30 June reads 30 June."""
        return self.date(end - 1)

    def clock(self, at: float) -> str:
        return clock(at, self._settings.site.timezone)

    def moment(self, at: int) -> str:
        """Date and time, on the same clock of 24 hours as everywhere else."""
        return moment(at, self._settings.site.timezone, self.language)

    def duration(self, seconds: int) -> str:
        """`2 h 10 min`, `45 min`, `30 s`."""
        minutes = seconds // 60
        if seconds < 60:
            return self.gettext("{seconds} s").format(seconds=max(0, seconds))
        if minutes < 60:
            return self.gettext("{minutes} min").format(minutes=minutes)
        if minutes % 60 == 0:
            return self.gettext("{hours} h").format(hours=minutes // 60)
        return self.gettext("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)

    def state(self, state: str) -> str:
        return self.gettext(STATES[state])

    def role(self, role: str) -> str:
        return self.gettext(ROLES[role])

    def size(self, size: Size) -> str:
        """What a size is called: by its GPUs."""
        if size.shards:
            parts = self._settings.offer.partition(size.partition)
            share = parts.shards_per_gpu // size.shards
            if share == 4:
                return self.gettext("A quarter of a GPU")
            return self.gettext("1/{share} of a GPU").format(share=share)
        if not size.gpus:
            return self.gettext("CPU only")
        return self.ngettext("{gpus} GPU", "{gpus} GPUs", size.gpus).format(gpus=size.gpus)

    def within(self, size: Size) -> str:
        """What a size is called inside a sentence."""
        if size.gpus:
            return self.size(size)
        if not size.shards:
            return self.gettext("a session without a GPU")
        share = self._settings.offer.partition(size.partition).shards_per_gpu // size.shards
        if share == 4:
            return self.gettext("a quarter of a GPU")
        return self.gettext("1/{share} of a GPU").format(share=share)

    def until(self, at: int, now: int) -> str:
        """An instant near now: the clock today, with the day on another one."""
        zone = self._settings.site.timezone
        days = (day_of(at, zone) - day_of(now, zone)).days
        if days == 1:
            return self.gettext("{time} tomorrow").format(time=self.clock(at))
        return self.clock(at) if days == 0 else self.moment(at)

    def joined(self, *sentences: str) -> str:
        """Sentences one after the other, as the language sets them; empty ones are left out."""
        return reasons.joined([one for one in sentences if one], self.language)

    def plain(self, name: str) -> str:
        """A name that anybody may have chosen, as one short line: no control or formatting characters."""
        line = " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in name[:400]).split())
        return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}…"

    def forecast(self, found: Forecast) -> tuple[str, str]:
        """When a grant runs out, as one sentence; and how that was worked out."""
        return told(found, self.gettext, self.hours, self.date)

    def size_detail(self, size: Size) -> str:
        """What else comes with a size."""
        accelerator = (
            self._settings.offer.partition(size.partition).accelerator_name
            if size.gpus or size.shards
            else ""
        )
        room = self.gettext("{cores} cores, {memory} GB memory").format(
            cores=size.cores, memory=size.memory_mb // 1000
        )
        if not accelerator:
            return room
        return self.gettext("{accelerator}, {room}").format(accelerator=accelerator, room=room)

    def refusal(self, refusal: Refusal) -> str:
        """A refusal with its next step."""
        values: dict[str, object] = {"contact": self._settings.site.contact}
        for name, value in refusal.values.items():
            if name in AMOUNTS:
                value = self.hours(int(str(value)))
            elif name in SUMS:
                value = self.money(int(str(value)))
            elif name == "ends":
                value = self.last_day(int(str(value)))
            elif name in INSTANTS:
                value = self.date(int(str(value)))
            values[name] = value
        return reasons.say(refusal.code, self.language, **values)
