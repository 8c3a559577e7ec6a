"""The portal's tables. `migrations/` makes and changes them; a test holds the two against each other.

Amounts are milli-GPU-seconds, money cents, times seconds since 1970 in UTC: all `BigInteger`. People appear by opaque id;
names and addresses are in `person_name` alone, which can be erased.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

organisation = Table(
    "organisation",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_zh", Text, nullable=False),
    Column("category", String(32), nullable=False),
)

grant = Table(
    "grant",
    metadata,
    Column("code", String(64), primary_key=True),
    Column("account", String(64), nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("organisation", ForeignKey("organisation.id"), nullable=False),
    Column("field", String(64), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("starts", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("decision", Text, nullable=False),
    Column("list_price", BigInteger, nullable=False),
    Column("share", Integer, nullable=False),
    Column("decided", String(16), nullable=False),
    Column("conditions", Text, nullable=False, default=""),
    Column("title_zh", Text, nullable=False, default="", server_default=""),
)

person = Table(
    "person",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("unix_user", String(64), nullable=False),
    Column("roles", Text, nullable=False, default=""),
    Column("seen", BigInteger, nullable=False),
)

person_name = Table(
    "person_name",
    metadata,
    Column("person", ForeignKey("person.id"), primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
)

membership = Table(
    "membership",
    metadata,
    Column("grant", ForeignKey("grant.code"), primary_key=True),
    Column("person", String(16), primary_key=True, index=True),
    Column("role", String(16), nullable=False),
    Column("starts", BigInteger, nullable=False),
    Column("ends", BigInteger),
    Column("cap", BigInteger),
)

entry = Table(
    "entry",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("key", String(200), nullable=False, unique=True),
    Column("grant", ForeignKey("grant.code"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("list_cents", BigInteger, nullable=False),
    Column("subsidy_cents", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("booked", BigInteger, nullable=False),
    Column("person", String(16), nullable=False, default=""),
    Column("note", Text, nullable=False, default=""),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
Index("ix_entry_grant_at", entry.c.grant, entry.c.at)

session = Table(
    "session",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("person", String(16), nullable=False, index=True),
    Column("grant", ForeignKey("grant.code"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("server", String(64), nullable=False),
    Column("size", String(64), nullable=False),
    Column("minutes", Integer, nullable=False),
    Column("billing", BigInteger, nullable=False),
    Column("unix_user", String(64), nullable=False),
    Column("cluster", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("partition", String(64), nullable=False),
    Column("asked", BigInteger, nullable=False),
    Column("job", BigInteger),
    Column("reported", BigInteger),
    Column("token_hash", String(64)),
    Column("ready", BigInteger),
    Column("ended", BigInteger, index=True),
    Column("outcome", String(16)),
)

job = Table(
    "job",
    metadata,
    Column("cluster", String(64), primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("submit", BigInteger, primary_key=True),
    Column("session", ForeignKey("session.id"), index=True),
    Column("grant", ForeignKey("grant.code"), index=True),
    Column("person", String(16), nullable=False, default=""),
    Column("name", Text, nullable=False),
    Column("user", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("qos", String(64), nullable=False),
    Column("partition", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("nodes", Text, nullable=False, default=""),
    Column("tres", Text, nullable=False, default=""),
    Column("billing", BigInteger, nullable=False, default=0),
    Column("limit_seconds", BigInteger),
    Column("start", BigInteger),
    Column("end", BigInteger),
    Column("elapsed", BigInteger),
    Column("gone", BigInteger),
    Column("booked", BigInteger, index=True),
    Column("counter", BigInteger),
)
Index("ix_job_person_end", job.c.person, job.c.end)

counter = Table(
    "counter",
    metadata,
    Column("cluster", String(64), primary_key=True),
    Column("qos", String(64), primary_key=True),
    Column("id", BigInteger, nullable=False),
)

aside = Table(
    "aside",
    metadata,
    Column("cluster", String(64), primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("submit", BigInteger, primary_key=True),
    Column("why", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

capability = Table(
    "capability",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("person", String(16), nullable=False),
    Column("expires", BigInteger, nullable=False),
)

choice = Table(
    "choice",
    metadata,
    Column("person", String(16), primary_key=True),
    Column("grant", String(64), nullable=False),
    Column("size", String(64), nullable=False),
    Column("minutes", Integer, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("who", String(64), nullable=False, index=True),
    Column("what", String(64), nullable=False, index=True),
    Column("subject", String(200), nullable=False),
    Column("where", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

sighting = Table(
    "sighting",
    metadata,
    Column("person", String(16), primary_key=True),
    Column("mark", String(64), primary_key=True),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
)

stream = Table(
    "stream",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

notice = Table(
    "notice",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("key", String(200), nullable=False, unique=True),
    Column("person", String(16), nullable=False, default=""),
    Column("address", Text, nullable=False, default=""),
    Column("reply_to", Text, nullable=False, default=""),
    Column("kind", String(64), nullable=False),
    Column("values", Text, nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("read", BigInteger),
    Column("mail_due", BigInteger, index=True),
    Column("mail_done", BigInteger),
    Column("mail_tries", Integer, nullable=False, default=0),
    Column("mail_fault", Text, nullable=False, default=""),
)
Index("ix_notice_person_number", notice.c.person, notice.c.number)

preference = Table(
    "preference",
    metadata,
    Column("person", String(16), primary_key=True),
    Column("language", String(16), nullable=False, default=""),
    Column("heard", String(16), nullable=False, default=""),
    Column("quiet_from", Integer),
    Column("quiet_until", Integer),
    Column("choices", Text, nullable=False, default=""),
)

consent = Table(
    "consent",
    metadata,
    Column("person", String(16), primary_key=True),
    Column("document", String(32), primary_key=True),
    Column("version", String(32), primary_key=True),
    Column("at", BigInteger, nullable=False),
)

cancelled = Table(
    "cancelled",
    metadata,
    Column("cluster", String(64), primary_key=True),
    Column("job", BigInteger, primary_key=True),
    Column("submit", BigInteger, primary_key=True),
    Column("person", String(16), nullable=False),
    Column("at", BigInteger, nullable=False),
)
