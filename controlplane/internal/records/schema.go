package records

// version of the schema. A database of another one is rebuilt, not migrated: all that
// is in it is somewhere else, too.
const version = 1

// schema of the database. Times are microseconds, minutes and hours since 1970.
// Nothing is looked up by a pattern, so no value that is asked for has a meaning
// beyond itself.
const schema = `
CREATE TABLE crossings (
	opened INTEGER NOT NULL, id TEXT NOT NULL, egress TEXT NOT NULL, ingress TEXT NOT NULL,
	trace TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL, service TEXT NOT NULL,
	origin TEXT NOT NULL, target TEXT NOT NULL, owner TEXT NOT NULL, denied INTEGER NOT NULL, state INTEGER NOT NULL,
	request REAL NOT NULL, response REAL NOT NULL, unmatched INTEGER NOT NULL, record BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX crossings_key ON crossings (id, egress, ingress);
CREATE INDEX crossings_trace ON crossings (trace) WHERE trace <> '';
CREATE INDEX crossings_opened ON crossings (opened);
CREATE INDEX crossings_transition ON crossings (origin, target, opened);
CREATE INDEX crossings_source ON crossings (source, opened);
CREATE INDEX crossings_destination ON crossings (destination, opened);
CREATE INDEX crossings_owner ON crossings (owner, opened);
CREATE INDEX crossings_service ON crossings (service, opened);
CREATE INDEX crossings_denied ON crossings (opened) WHERE denied = 1;
CREATE INDEX crossings_unmatched ON crossings (opened) WHERE unmatched = 1;
CREATE TABLE minutes (
	at INTEGER NOT NULL, origin TEXT NOT NULL, target TEXT NOT NULL, owner TEXT NOT NULL, denied INTEGER NOT NULL, state INTEGER NOT NULL,
	crossings INTEGER NOT NULL, request REAL NOT NULL, response REAL NOT NULL,
	PRIMARY KEY (at, origin, target, owner, denied, state)
) STRICT, WITHOUT ROWID;
CREATE TABLE hours (
	at INTEGER NOT NULL, origin TEXT NOT NULL, target TEXT NOT NULL, owner TEXT NOT NULL, denied INTEGER NOT NULL, state INTEGER NOT NULL,
	crossings INTEGER NOT NULL, request REAL NOT NULL, response REAL NOT NULL,
	PRIMARY KEY (at, origin, target, owner, denied, state)
) STRICT, WITHOUT ROWID;
`

const (
	lookUp = `SELECT rowid, opened, origin, target, owner, denied, state, request, response, record
		FROM crossings WHERE id = ? AND egress = ? AND ingress = ?`
	insert = `INSERT INTO crossings (opened, id, egress, ingress, trace, source, destination, service, origin, target, owner, denied, state,
		request, response, unmatched, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	remove = `DELETE FROM crossings WHERE rowid = ?`

	addMinute  = `INSERT INTO minutes` + addTo
	addHour    = `INSERT INTO hours` + addTo
	tidyMinute = `DELETE FROM minutes` + ofNone
	tidyHour   = `DELETE FROM hours` + ofNone

	addTo = ` VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		crossings = crossings + excluded.crossings, request = request + excluded.request, response = response + excluded.response`
	ofNone = ` WHERE at = ? AND origin = ? AND target = ? AND owner = ? AND denied = ? AND state = ? AND crossings = 0`
)
