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
//
// Entries are kept a second time, in an Archive, before the tree has them. When a log is
// opened all of its tree is read, up to the root that Tessera has and the one that was
// signed. A file that is damaged or gone is named in the program's log and rebuilt: a hash
// tile from what is below it, entries from their copies, which their leaf hashes find, or
// their order where the hashes are damaged too. Nothing is written that does not come to
// those roots, so a changed entry is what was signed again, and a tree that was put back is
// still refused. What was there goes to the directory "damaged" beside the tree, which
// nobody is served. What cannot be rebuilt is ErrDamaged, which says which files are to be
// put back from a copy. A published checkpoint that cannot be read is the last one that was
// signed again. Which tree it is, the file tiles/.state/treeState says: it is not rebuilt,
// and neither are the key and the last checkpoint that was signed.
//
// A file that is damaged while the log is open is named by who reads it, and rebuilt when
// the log is opened the next time.
package translog
