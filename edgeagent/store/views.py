"""The views that people see when they open edgeagent.db with sqlite3 or Datasette.

They are for reading only: the program itself reads the tables. Newest first, local times, few columns.
"""

from __future__ import annotations

_SHORT_TIME = "strftime('%m-%d %H:%M:%S', {}, 'localtime')"
# One line of at most so many characters, with nothing in it that a terminal would obey.
_LINE = "replace(replace(replace(substr({}, 1, {}), char(10), ' '), char(13), ' '), char(27), '^')"
# A lone surrogate cannot be shown as UTF-8: such an output stays JSON, where it is escaped.
_ANSWER = """coalesce(r.error, CASE
                   WHEN r.output LIKE '"%' AND r.output NOT LIKE '%\\ud%' THEN r.output ->> '$'
                   ELSE r.output END)"""

VIEWS = {
    "v_runs": f"""
        SELECT {_SHORT_TIME.format("r.created_at")} AS time,
               r.agent,
               r.what,
               r.status || coalesce(' (' || r.reason || ')', '') AS status,
               round((julianday(r.ended_at) - julianday(r.started_at)) * 86400, 1) AS seconds,
               (SELECT sum(s.input_tokens) || ' in, ' || sum(s.output_tokens) || ' out'
                  FROM steps s WHERE s.run_id = r.id AND s.kind = 'chat') AS tokens,
               {_LINE.format(_ANSWER, 120)} AS answer,
               r.id AS run
          FROM runs r
         ORDER BY r.seq DESC""",
    "v_steps": f"""
        SELECT {_SHORT_TIME.format("s.started_at")} AS time,
               r.agent,
               r.what,
               s.n,
               s.kind,
               {_LINE.format("s.name || CASE s.arguments WHEN '{}' THEN '' ELSE ' ' || s.arguments END", 120)} AS call,
               s.status,
               {_LINE.format("CASE s.error WHEN '' THEN s.result ELSE s.error END", 120)} AS result,
               round(s.seconds, 2) AS seconds,
               CASE s.kind WHEN 'chat' THEN s.input_tokens || ' in, ' || s.output_tokens || ' out' END AS tokens,
               s.run_id AS run
          FROM steps s
          JOIN runs r ON r.id = s.run_id
         ORDER BY r.seq DESC, s.retry, s.n""",
    "v_events": f"""
        SELECT {_SHORT_TIME.format("r.created_at")} AS time,
               r.agent,
               r.trigger_id AS trigger,
               r.what,
               r.status || coalesce(' (' || r.reason || ')', '') AS led_to,
               {_LINE.format("r.event", 200)} AS data,
               {_LINE.format("r.event_key", 200)} AS key,
               r.id AS run
          FROM runs r
         ORDER BY r.seq DESC""",
}
