"""The tables of edgeagent.db, as numbered steps from an empty file to today.

A migration that was released is never edited and never removed: a change is a new one at the end. The views are not
history but presentation (views.py), and are made anew whenever the version moves.
This module is imported only when a file is behind, because sqlite-utils takes 0.1 to 0.2 s to import and every
command would pay for it.
"""

from __future__ import annotations

from sqlite_utils import Database as SqliteUtils
from sqlite_utils import Migrations

from edgeagent.store.connection import Database
from edgeagent.store.views import VIEWS

migrations = Migrations("edgeagent")


@migrations()
def m0001_runs_and_steps(db: SqliteUtils) -> None:
    """An event and its run are one row, so that neither can exist without the other."""
    db.execute("""
        CREATE TABLE runs (
            seq         INTEGER PRIMARY KEY,           -- order of arrival
            id          TEXT NOT NULL UNIQUE,          -- ULID
            agent       TEXT NOT NULL,
            trigger     TEXT NOT NULL,                 -- kind: file, cron, manual ...
            trigger_id  TEXT NOT NULL,
            event_key   TEXT NOT NULL,
            event       TEXT NOT NULL,                 -- JSON
            what        TEXT NOT NULL,                 -- the event in a few words, for people
            status      TEXT NOT NULL,
            reason      TEXT,
            output      TEXT,                          -- JSON
            error       TEXT,
            model       TEXT,
            attempt     INTEGER NOT NULL DEFAULT 0,
            retry       INTEGER NOT NULL DEFAULT 0,    -- how often a person asked for another round
            owner       TEXT,                          -- the process that runs it
            cancel_requested INTEGER NOT NULL DEFAULT 0,
            due_at      TEXT,                          -- not before; NULL is at once
            created_at  TEXT NOT NULL,
            started_at  TEXT,
            ended_at    TEXT,
            UNIQUE (agent, event_key)
        ) STRICT""")
    db.execute("CREATE INDEX runs_status ON runs (status, seq)")
    db.execute("CREATE INDEX runs_agent ON runs (agent, seq)")
    db.execute("CREATE INDEX runs_created ON runs (created_at)")
    db.execute("""
        CREATE TABLE steps (
            run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            retry       INTEGER NOT NULL,
            n           INTEGER NOT NULL,
            kind        TEXT NOT NULL,                 -- chat or tool
            name        TEXT NOT NULL,
            arguments   TEXT NOT NULL,                 -- JSON
            plan        TEXT,                          -- JSON: what a tool was about to do
            result      TEXT NOT NULL DEFAULT '',
            status      TEXT NOT NULL,                 -- started, then ok, error, denied or waiting
            error       TEXT NOT NULL DEFAULT '',
            reasoning   TEXT NOT NULL DEFAULT '',
            calls       TEXT NOT NULL DEFAULT '[]',    -- JSON
            started_at  TEXT NOT NULL,
            ended_at    TEXT,
            seconds     REAL NOT NULL DEFAULT 0,
            time_to_first_token REAL,
            input_tokens  INTEGER NOT NULL DEFAULT 0,
            cached_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (run_id, retry, n)
        ) STRICT""")
    db.execute("CREATE INDEX steps_ended ON steps (ended_at)")


@migrations()
def m0002_what_triggers_remember(db: SqliteUtils) -> None:
    """A path is TEXT where it is valid UTF-8 and BLOB where it is not, hence ANY."""
    db.execute("""
        CREATE TABLE files (
            agent       TEXT NOT NULL,
            trigger_id  TEXT NOT NULL,
            path        ANY NOT NULL,
            size        INTEGER NOT NULL,
            mtime_ns    INTEGER NOT NULL,
            inode       INTEGER NOT NULL,
            sha256      TEXT NOT NULL,
            appearance  INTEGER NOT NULL,
            PRIMARY KEY (agent, trigger_id, path)
        ) STRICT, WITHOUT ROWID""")
    db.execute("""
        CREATE TABLE watches (
            agent       TEXT NOT NULL,
            trigger_id  TEXT NOT NULL,
            baseline_at TEXT,
            appearances INTEGER NOT NULL DEFAULT 0,    -- the highest number given out
            PRIMARY KEY (agent, trigger_id)
        ) STRICT, WITHOUT ROWID""")
    db.execute("""
        CREATE TABLE own_writes (
            agent       TEXT NOT NULL,
            path        ANY NOT NULL,
            size        INTEGER NOT NULL,
            mtime_ns    INTEGER NOT NULL,
            inode       INTEGER NOT NULL,
            written_at  TEXT NOT NULL,
            PRIMARY KEY (agent, path)
        ) STRICT, WITHOUT ROWID""")
    db.execute("""
        CREATE TABLE schedule (
            agent       TEXT NOT NULL,
            trigger_id  TEXT NOT NULL,
            scheduled_at TEXT NOT NULL,
            PRIMARY KEY (agent, trigger_id)
        ) STRICT, WITHOUT ROWID""")


@migrations()
def m0003_memory(db: SqliteUtils) -> None:
    db.execute("""
        CREATE TABLE memory (
            id          INTEGER PRIMARY KEY,
            agent       TEXT NOT NULL,
            text        TEXT NOT NULL,
            created_at  TEXT NOT NULL,
            UNIQUE (agent, text)
        ) STRICT""")
    # porter: a note about "bills" is found by "bill". It knows English only and leaves other words as they are.
    db.execute("""
        CREATE VIRTUAL TABLE memory_fts
        USING fts5 (text, content = memory, content_rowid = id, tokenize = 'porter unicode61')""")
    db.execute("""
        CREATE TRIGGER memory_insert AFTER INSERT ON memory BEGIN
            INSERT INTO memory_fts (rowid, text) VALUES (new.id, new.text);
        END""")
    db.execute("""
        CREATE TRIGGER memory_delete AFTER DELETE ON memory BEGIN
            INSERT INTO memory_fts (memory_fts, rowid, text) VALUES ('delete', old.id, old.text);
        END""")


@migrations()
def m0004_where_input_tokens_came_from(db: SqliteUtils) -> None:
    """Of the cached tokens of a step, those whose state came from a file."""
    db.execute("ALTER TABLE steps ADD COLUMN disk_tokens INTEGER NOT NULL DEFAULT 0")


@migrations()
def m0005_queue_terms(db: SqliteUtils) -> None:
    """What a caller asked of a run outlives the daemon that was asked. A disabled agent stays so."""
    db.execute("ALTER TABLE runs ADD COLUMN agent_path TEXT")  # where a person chose the agent: its file
    db.execute("ALTER TABLE runs ADD COLUMN dry_run INTEGER NOT NULL DEFAULT 0")
    # Few rows at a time, so that a claim and the count of what waits cost the same however long the journal is.
    db.execute("CREATE INDEX runs_open ON runs (agent, status, seq) WHERE ended_at IS NULL")
    db.execute("""
        CREATE TABLE disabled_agents (
            agent       TEXT PRIMARY KEY,
            disabled_at TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""")


@migrations()
def m0006_more_triggers(db: SqliteUtils) -> None:
    """Who follows whom, and how far each trigger has got in what it reads."""
    db.execute("""
        CREATE TABLE chains (
            agent       TEXT NOT NULL,                 -- who follows
            trigger_id  TEXT NOT NULL,
            upstream    TEXT NOT NULL,                 -- whom
            statuses    TEXT NOT NULL,                 -- JSON: after which ends
            since_seq   INTEGER NOT NULL,              -- runs up to this one are settled matters
            is_active   INTEGER NOT NULL,
            PRIMARY KEY (upstream, agent, trigger_id)
        ) STRICT, WITHOUT ROWID""")
    # Emptied before every commit (chains.py), so that a run and what follows from its end are written together.
    db.execute("""
        CREATE TABLE endings (
            run_id      TEXT NOT NULL,
            agent       TEXT NOT NULL,
            trigger_id  TEXT NOT NULL,
            PRIMARY KEY (run_id, agent, trigger_id)
        ) STRICT, WITHOUT ROWID""")
    for name, moment in (("insert", "INSERT"), ("update", "UPDATE OF status")):
        changed = "1" if name == "insert" else "NEW.status <> OLD.status"
        db.execute(f"""
            CREATE TRIGGER runs_end_{name} AFTER {moment} ON runs WHEN NEW.ended_at IS NOT NULL AND {changed} BEGIN
                INSERT OR IGNORE INTO endings
                SELECT NEW.id, agent, trigger_id FROM chains
                 WHERE upstream = NEW.agent AND is_active
                   AND NEW.status IN (SELECT value FROM json_each(statuses));
            END""")
    db.execute("""
        CREATE TABLE bookmarks (
            agent       TEXT NOT NULL,
            trigger_id  TEXT NOT NULL,
            place       TEXT NOT NULL,                 -- JSON, as the kind of trigger needs it
            PRIMARY KEY (agent, trigger_id)
        ) STRICT, WITHOUT ROWID""")
    db.execute("""
        CREATE TABLE messages (
            agent       TEXT NOT NULL,
            trigger_id  TEXT NOT NULL,
            packet      INTEGER NOT NULL,              -- the id under which the broker may send it again
            digest      TEXT NOT NULL,
            event_key   TEXT NOT NULL,
            PRIMARY KEY (agent, trigger_id, packet)
        ) STRICT, WITHOUT ROWID""")


@migrations()
def m0007_approvals(db: SqliteUtils) -> None:
    """What a person is asked. `subject` is all that the call would do, `sha256` the fingerprint that was shown."""
    db.execute("""
        CREATE TABLE approvals (
            id          TEXT PRIMARY KEY,              -- ULID
            run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            retry       INTEGER NOT NULL,
            n           INTEGER NOT NULL,              -- the step
            subject     TEXT NOT NULL,                 -- JSON
            sha256      TEXT NOT NULL,
            reason      TEXT NOT NULL,
            status      TEXT NOT NULL,                 -- pending, approved, denied, expired, used or void
            created_at  TEXT NOT NULL,
            expires_at  TEXT NOT NULL,
            decided_at  TEXT,
            decided_by  TEXT
        ) STRICT, WITHOUT ROWID""")
    db.execute("CREATE INDEX approvals_run ON approvals (run_id, retry, n)")
    db.execute("CREATE INDEX approvals_pending ON approvals (expires_at) WHERE status = 'pending'")
    # A yes to a run that has ended, or was begun anew, is a yes to nothing.
    db.execute("""
        CREATE TRIGGER approvals_end AFTER UPDATE ON runs
          WHEN NEW.ended_at IS NOT NULL OR NEW.retry <> OLD.retry BEGIN
            UPDATE approvals SET status = 'void' WHERE run_id = NEW.id AND status IN ('pending', 'approved');
        END""")


def migrate(database: Database, version: int) -> None:
    """Brings the file to `version`, inside the transaction that the caller holds."""
    connection = database.raw
    db = SqliteUtils(connection)
    migrations.apply(db)
    old = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
    for name in old:
        if name in VIEWS:
            connection.execute(f"DROP VIEW {name}")
    for name, select in VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {select}")
    connection.execute(f"PRAGMA user_version = {version}")
