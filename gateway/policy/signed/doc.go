// Package signed gives a policy its canonical bytes and revision, signs and
// verifies it. Operators sign on their side; the control plane and each gateway
// verify for themselves, under keys that they have pinned.
//
// It holds no key but the one that a Signer is made of, reads no files and knows
// no clock: which serial is too old is for whoever remembers the last one.
//
// The invariant: one policy has one form and one name, whatever the order it was
// written in, and nothing comes out of Verify but a valid policy that as many of
// the pinned keys as the threshold says, or of those that followed them, signed.
package signed
