// Package simulation runs the whole of double entry in one process and in virtual time:
// gateways with their recorders, spools and books, the tunnels between them, and a
// control plane that takes what they deliver, while faults are put in that a seed
// chooses. It has tests only.
//
// Recorder, spool, books, statements and records are the product's own. Stand-ins are
// the disk, which is in memory and whose power can be cut after each call; the tunnels,
// which lose, repeat, hold up and change what they are told to; the exchange, a light
// model of what package exchange does; and the control plane, which means by a record
// and by a statement what the real one does.
//
// A seed gives a schedule: which crossings there are and when, and which faults, each
// at a time, at a call of a disk or at a message. What goroutines do at one instant of
// virtual time is left to Go's scheduler, so that a seed is run again several times
// where it is to be replayed.
package simulation
