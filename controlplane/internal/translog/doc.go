// Package translog keeps an environment's log: a Merkle tree to whose end what gateways
// have stated is appended, as tiles in a directory (C2SP tlog-tiles), with a checkpoint
// that the log's key signs (C2SP tlog-checkpoint).
//
// The one invariant: what has been signed once stays so. A log signs no tree that does
// not have the last one that it signed as its beginning, and does not open on one. What it
// has signed it writes down beside the tree before anybody sees it, so that a tree that
// was put back to what it was does not go unnoticed.
//
// An entry that was taken is on stable storage; the checkpoint that has it follows within
// Interval. Tessera keeps the tiles.
package translog
