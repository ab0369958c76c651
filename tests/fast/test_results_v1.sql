-- A results database as behunt 0.1.0 wrote it, dumped with `sqlite3 results.db .dump`.
-- Never edited: it is what the migrations are tested on.
BEGIN TRANSACTION;
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES sessions (id),
    trial INTEGER NOT NULL REFERENCES trials (id),
    verdict TEXT NOT NULL,
    cached BOOLEAN NOT NULL
);
INSERT INTO "answers" VALUES(1,1,1,'good',1);
INSERT INTO "answers" VALUES(2,1,2,'bad',0);
CREATE TABLE builds (
    identity TEXT PRIMARY KEY,  -- SHA-256
    recipe TEXT NOT NULL,
    origins TEXT NOT NULL,  -- JSON: [[URL, SHA-256], …]
    packages TEXT NOT NULL,  -- JSON: [[name, version, arch], …]
    notes TEXT NOT NULL  -- JSON: [text, …]
);
INSERT INTO "builds" VALUES('abababababababababababababababababababababababababababababababab','mmdebstrap --variant=minbase','[["https://deb.debian.org/debian/dists/sid/Release", "efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef"]]','[["bash", "5.2.15-2", "amd64"]]','[]');
CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    applied TEXT NOT NULL,
    behunt TEXT NOT NULL  -- the version of behunt that applied it
);
INSERT INTO "schema_version" VALUES(1,'2026-11-21T09:15:02.668894+00:00','0.1.0');
CREATE TABLE session_events (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES sessions (id),
    state TEXT NOT NULL,
    at TEXT NOT NULL,
    detail TEXT NOT NULL  -- JSON object: of an end, the conclusion
);
INSERT INTO "session_events" VALUES(1,1,'started','2026-11-21T09:15:02.671+00:00','{}');
INSERT INTO "session_events" VALUES(2,1,'ended','2026-11-21T09:15:02.677+00:00','{"outcome": "found"}');
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,  -- shown to people
    kind TEXT NOT NULL,
    params TEXT NOT NULL,  -- JSON object: all that is needed to resume it
    created TEXT NOT NULL,
    version TEXT NOT NULL,  -- of behunt
    host TEXT NOT NULL
);
INSERT INTO "sessions" VALUES(1,'bisect','{"releases": ["debian-11-amd64", "debian-sid-amd64"]}','2026-11-21T09:15:02.670+00:00','0.1.0','buildhost');
CREATE TABLE step_ends (
    step INTEGER PRIMARY KEY REFERENCES steps (id),
    ended TEXT NOT NULL,
    detail TEXT NOT NULL
);
INSERT INTO "step_ends" VALUES(1,'2026-11-21T09:15:02.676+00:00','failed');
CREATE TABLE steps (
    id INTEGER PRIMARY KEY,
    session INTEGER REFERENCES sessions (id),  -- NULL: outside of any, e.g. `behunt be install`
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,  -- a release id
    owner TEXT NOT NULL,  -- the process that does it
    began TEXT NOT NULL
);
INSERT INTO "steps" VALUES(1,1,'trial','debian-sid-amd64','pid 7','2026-11-21T09:15:02.675+00:00');
INSERT INTO "steps" VALUES(2,1,'install','debian-12-amd64','pid 7','2026-11-21T09:15:02.676+00:00');
CREATE TABLE trials (
    id INTEGER PRIMARY KEY,
    session INTEGER REFERENCES sessions (id),
    release TEXT NOT NULL,
    test TEXT NOT NULL,
    runner TEXT NOT NULL,
    outcome TEXT NOT NULL,
    key TEXT NOT NULL,  -- SHA-256 of every input: equal keys may share an answer
    reason TEXT NOT NULL,
    exit_code INTEGER,
    metrics TEXT NOT NULL,  -- JSON: [[name, value, unit], …]
    started TEXT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    log TEXT NOT NULL,
    out TEXT NOT NULL,
    identity TEXT NOT NULL,  -- no foreign key: runner `none` installs nothing
    kernel TEXT NOT NULL,
    attempt INTEGER NOT NULL
);
INSERT INTO "trials" VALUES(1,NULL,'debian-11-amd64','crypt.sh','namespace','passed','abababababababababababababababababababababababababababababababab','',0,'[]','2026-01-02T03:04:05+00:00',0.25,'/runs/1/log','','abababababababababababababababababababababababababababababababab','6.1.0-13-amd64',1);
INSERT INTO "trials" VALUES(2,1,'debian-sid-amd64','crypt.sh','namespace','failed','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd','exit code 1',1,'[["boot", 1.5, "s"]]','2026-01-02T03:05:06+00:00',0.5,'/runs/2/log','','abababababababababababababababababababababababababababababababab','6.1.0-13-amd64',1);
CREATE INDEX session_events_by_session ON session_events (session, id);
CREATE INDEX steps_by_session ON steps (session, id);
CREATE INDEX trials_by_key ON trials (key, id);
CREATE INDEX trials_by_session ON trials (session, id);
CREATE INDEX trials_by_release ON trials (release, id);
CREATE INDEX trials_by_test ON trials (test, id);
CREATE INDEX trials_by_outcome ON trials (outcome, id);
CREATE INDEX answers_by_session ON answers (session, id);
COMMIT;
