"""The journal: what each run did, step by step, and the questions people ask about it.

Owns the steps table and reads runs; moving a run from one status to another is queue.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from edgeagent.errors import NotFound, UsageError
from edgeagent.schema import Json, Run, RunStatus, Step, format_time
from edgeagent.store.connection import Part
from edgeagent.store.values import (
    UnfinishedStep,
    from_json,
    step_columns,
    to_json,
    to_json_or_null,
    to_run,
    to_step,
    to_text,
)

# Usage counts every round of the run: what was spent was spent.
_RUNS = """
    SELECT r.*, u.* FROM runs r LEFT JOIN (
        SELECT run_id, sum(input_tokens) AS input_tokens, sum(cached_tokens) AS cached_tokens,
               sum(disk_tokens) AS disk_tokens, sum(output_tokens) AS output_tokens,
               sum(seconds) FILTER (WHERE kind = 'chat') AS model_seconds,
               sum(seconds) FILTER (WHERE kind = 'tool') AS tool_seconds
          FROM steps {steps} GROUP BY run_id
    ) u ON u.run_id = r.id"""

_CURRENT = "run_id = :id AND retry = (SELECT retry FROM runs WHERE id = :id)"
_STEP_COLUMNS = tuple(Step.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new in a run since step n. `run` is without steps."""

    run: Run
    steps: list[Step]
    unfinished: UnfinishedStep | None


class Journal(Part):
    def record_step_started(
        self,
        run_id: str,
        n: int,
        kind: Literal["chat", "tool"],
        name: str,
        arguments: Json,
        plan: Json | None = None,
    ) -> None:
        """Writes down what is about to happen, so that a crash in the middle can be told from a step never begun."""
        with self._db.transaction() as connection:
            written = connection.execute(
                """INSERT INTO steps (run_id, retry, n, kind, name, arguments, plan, status, started_at)
                   VALUES (?, (SELECT retry FROM runs WHERE id = ?), ?, ?, ?, ?, ?, 'started', ?)
                   ON CONFLICT (run_id, retry, n) DO UPDATE SET kind = excluded.kind, name = excluded.name,
                          arguments = excluded.arguments, plan = excluded.plan, started_at = excluded.started_at,
                          status = 'started'
                    WHERE status IN ('started', 'waiting')""",
                [run_id, run_id, n, kind, to_text(name), to_json(arguments), to_json_or_null(plan), self._now()],
            )
            _check_written(written, run_id, n)

    def record_step(self, run_id: str, step: Step) -> None:
        """Writes a step that has ended, over its started row where there is one. What has ended is not rewritten."""
        now = self._clock()
        columns = step_columns(step) | {
            "run_id": run_id,
            "started_at": format_time(now - timedelta(seconds=step.seconds)),
            "ended_at": format_time(now),
        }
        names = ", ".join(columns)
        values = ", ".join(f":{name}" for name in columns)
        updates = ", ".join(f"{name} = excluded.{name}" for name in (*_STEP_COLUMNS, "ended_at"))
        with self._db.transaction() as connection:
            written = connection.execute(
                f"""INSERT INTO steps ({names}, retry)
                    VALUES ({values}, (SELECT retry FROM runs WHERE id = :run_id))
                    ON CONFLICT (run_id, retry, n) DO UPDATE SET {updates}
                     WHERE status IN ('started', 'waiting')""",
                columns,
            )
            _check_written(written, run_id, step.n)

    def steps_of(self, run_id: str) -> list[Step]:
        """The steps that have ended in the present round of a run, in order."""
        rows = self._db.rows(f"SELECT * FROM steps WHERE {_CURRENT} AND status <> 'started' ORDER BY n", {"id": run_id})
        return [to_step(row) for row in rows]

    def unfinished_step(self, run_id: str) -> UnfinishedStep | None:
        """The step that was begun and has no end; None where all have ended."""
        row = self._db.row(
            f"SELECT * FROM steps WHERE {_CURRENT} AND status = 'started' ORDER BY n LIMIT 1", {"id": run_id}
        )
        if row is None:
            return None
        return UnfinishedStep(row["n"], row["name"], from_json(row["arguments"]), from_json(row["plan"]))

    def run(self, run_id: str) -> Run:
        """The run with its steps. NotFound where there is none."""
        found = self._run(run_id)
        # The row first, the steps after: a run that is seen to have ended then has all its steps.
        return to_run(found, tuple(self.steps_of(run_id)))

    def find_run(self, start: str) -> Run:
        """The run whose id is or begins or ends with `start`, since nobody types 26 characters. Of nothing: none."""
        rows = self._db.rows(
            "SELECT id FROM runs WHERE :part != ''"
            " AND upper(:part) IN (id, substr(id, 1, length(:part)), substr(id, -length(:part))) LIMIT 2",
            {"part": start},
        )
        if len(rows) > 1:
            raise UsageError(f"more than one run matches {start}", "give more of the id: edgeagent runs list")
        return self.run(rows[0]["id"] if rows else start)

    def runs(
        self,
        agent: str | None = None,
        status: RunStatus | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """The newest runs first, without their steps."""
        conditions, parameters = _conditions(agent, status, since)
        newest = f"SELECT id FROM runs {conditions} ORDER BY seq DESC LIMIT :limit"
        sql = _RUNS.format(steps=f"WHERE run_id IN ({newest})") + f" WHERE r.id IN ({newest}) ORDER BY r.seq DESC"
        return [to_run(row) for row in self._db.rows(sql, parameters | {"limit": limit})]

    def counts(self, agent: str | None = None, since: datetime | None = None) -> dict[RunStatus, int]:
        """How many runs stand where. Statuses that no run has are left out."""
        conditions, parameters = _conditions(agent, None, since)
        rows = self._db.rows(f"SELECT status, count(*) AS n FROM runs {conditions} GROUP BY status", parameters)
        return {RunStatus(row["status"]): row["n"] for row in rows}

    def changes_since(self, run_id: str, n: int) -> Changes:
        """What someone who has seen steps up to `n` has yet to see."""
        run = to_run(self._run(run_id))
        steps = [step for step in self.steps_of(run_id) if step.n > n]
        return Changes(run, steps, self.unfinished_step(run_id))

    def tool_calls_since(self, agent: str, since: datetime, names: Collection[str] | None = None) -> int:
        """How many tool calls the agent has made since then, for the limit on actions an hour.

        A call counts from when it was begun, whatever came of it; one that was planned as mere reading does not.
        """
        named = "" if names is None else "AND s.name IN (SELECT value FROM json_each(:names))"
        parameters = {"agent": agent, "since": format_time(since), "names": to_json(list(names or ()))}
        count: int = self._db.value(
            f"""SELECT count(*) FROM steps s JOIN runs r ON r.id = s.run_id
                 WHERE r.agent = :agent AND s.kind = 'tool' AND (s.ended_at >= :since OR s.ended_at IS NULL)
                   AND (s.status = 'ok' OR s.plan IS NOT NULL) AND coalesce(s.plan ->> 'reads_only', 0) = 0 {named}""",
            parameters,
        )
        return count

    def _run(self, run_id: str) -> Any:
        found = self._db.row(_RUNS.format(steps="WHERE run_id = :id") + " WHERE r.id = :id", {"id": run_id})
        if found is None:
            raise NotFound(f"no run {run_id}", "see what there is: edgeagent runs list")
        return found


def _check_written(written: sqlite3.Cursor, run_id: str, n: int) -> None:
    if written.rowcount == 0:
        raise UsageError(f"step {n} of run {run_id} has ended and is on the record", "number the next step n + 1")


def _conditions(agent: str | None, status: RunStatus | None, since: datetime | None) -> tuple[str, dict[str, Any]]:
    given = {
        "agent = :agent": ("agent", agent),
        "status = :status": ("status", status.value if status else None),
        "created_at >= :since": ("since", format_time(since) if since else None),
    }
    used = {condition: pair for condition, pair in given.items() if pair[1] is not None}
    return ("WHERE " + " AND ".join(used) if used else ""), dict(used.values())
