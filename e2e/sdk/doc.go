// Package sdk calls through the mesh with other people's clients, unmodified.
// It holds tests only.
//
// Each client makes a fixed list of calls, once straight to its provider or server
// and once through the mesh, and tells what became of each: what the SDK returned or
// raised. The two must be equal, and so must be what the provider was sent.
// Providers are scripts (see package provider); MCP servers are the SDKs' own.
package sdk
