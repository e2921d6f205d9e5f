// Package hosts is the deployment on separate hosts: configuration files, units
// and the walk through them in README.md. It holds tests only; e2e/netns runs it.
//
// The invariant: the files are complete as they are, but for ${reviewBy}.
package hosts
