// Package lint tests the repository itself: who imports whom, that every
// package says what it is, that files stay small, that generated code is
// fresh, and that the README's commands and figures are real. It holds tests
// only.
package lint
