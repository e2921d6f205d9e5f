// Package sdk has only a test: what OpenAI's own SDK makes of a refusal. It is
// apart so that who fuzzes package openai does not build the SDK.
package sdk
