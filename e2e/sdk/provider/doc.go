// Package provider stands in for providers of models, for tests: it speaks the APIs
// of OpenAI and Anthropic, and answers from a script that the model's name
// chooses. It thinks of nothing: each answer is a file that is sent as it is, so
// that a test knows every byte, and what was reported.
//
// The shapes of the answers are those of the APIs' own types, as the SDKs of 2026
// have them; no text of theirs is a model's.
package provider
