// Package policy is what the one policy means: which calls may cross from one
// environment to another, by which intent, and who answers for it. It checks a
// policy and decides. Both planes read the meaning from here, so that what is
// enforced and what is shown cannot differ.
//
// It is not the form that people write: YAML and the text of conditions are
// read in the package source, on the operator's side. Nor is it the form that is
// published: the package signed has a policy's bytes, its revision and who signed
// it. It reads no files, knows no clock and opens no connection.
//
// The invariant: nothing is allowed unless an intent allows it, a matching deny
// always wins, and no order of anything in a policy changes a decision.
package policy
