package records

// version of the schema. A database of another one is rebuilt, not migrated: all that
// is in it is somewhere else, too.
const version = 2

// schema of the database. Times are microseconds, minutes and hours since 1970.
// Texts that are asked for are there as their marks, which are shorter than most: an
// index finds the rows, and the record itself says whether it is one of them.
// So no text that is asked for has a meaning beyond itself.
const schema = `
CREATE TABLE crossings (
	opened INTEGER NOT NULL, origin INTEGER NOT NULL, target INTEGER NOT NULL, source INTEGER NOT NULL, destination INTEGER NOT NULL,
	service INTEGER NOT NULL, owner INTEGER NOT NULL, trace INTEGER NOT NULL, denied INTEGER NOT NULL, unmatched INTEGER NOT NULL,
	request REAL NOT NULL, response REAL NOT NULL,
	gateways INTEGER NOT NULL, id TEXT NOT NULL, egress TEXT NOT NULL, ingress TEXT NOT NULL, record BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX crossings_key ON crossings (id, gateways);
CREATE INDEX crossings_trace ON crossings (trace) WHERE trace <> 0;
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
CREATE TABLE stale (hour INTEGER PRIMARY KEY, puts INTEGER NOT NULL) STRICT;
CREATE TABLE cold (hour INTEGER PRIMARY KEY) STRICT;
CREATE TABLE strays (made INTEGER NOT NULL, crossing INTEGER NOT NULL, hour INTEGER NOT NULL, PRIMARY KEY (made, crossing, hour)) STRICT, WITHOUT ROWID;
CREATE INDEX strays_hour ON strays (hour);
CREATE TABLE clock (last INTEGER NOT NULL, steady INTEGER NOT NULL) STRICT;
`

const (
	insert = `INSERT INTO crossings (opened, origin, target, source, destination, service, owner, trace, denied, unmatched,
		request, response, gateways, id, egress, ingress, record)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
	lookUp = `SELECT rowid, record FROM crossings WHERE id = ? AND gateways = ?`
	remove = `DELETE FROM crossings WHERE rowid = ?`

	addMinute  = `INSERT INTO minutes` + addTo
	addHour    = `INSERT INTO hours` + addTo
	tidyMinute = `DELETE FROM minutes` + ofNone
	tidyHour   = `DELETE FROM hours` + ofNone

	addTo = ` VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		crossings = crossings + excluded.crossings, request = request + excluded.request, response = response + excluded.response`
	ofNone = ` WHERE at = ? AND origin = ? AND target = ? AND owner = ? AND denied = ? AND state = ? AND crossings = 0`

	// An hour is stale while its records are not in the archive as they are here.
	// puts tells whether it changed while it was written there.
	addStale = `INSERT INTO stale VALUES (?, 1) ON CONFLICT DO UPDATE SET puts = puts + 1`
)
