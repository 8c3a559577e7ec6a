"""What people are told: one place to tell it from, shown in the portal, in the browser and by mail.

`tell` and its like write a row inside the caller's transaction, so that what happened and the notice of it are one. The
loop in `post` sends the letters afterwards.
"""

from portal.notices.telling import letter_to, send_report, tell

__all__ = ["letter_to", "send_report", "tell"]
