// Package render turns answers of the control API into what people and scripts
// read: tables, JSON and YAML, and the sentences of a trace.
//
// It asks nobody anything and decides nothing; it gets messages and writes text.
// Its invariant: nothing that a peer, a policy or a record says can move the
// cursor, add a line or hide one, because every cell of a table is made printable.
package render
