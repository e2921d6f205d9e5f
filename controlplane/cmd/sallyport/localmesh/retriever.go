package localmesh

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// mcpVersion is the revision of the Model Context Protocol that the scripted
// retriever speaks: its Streamable HTTP transport, answering in plain JSON.
const mcpVersion = "2025-06-18"

// corpus is what the scripted retriever finds things in.
var corpus = []string{
	"Incident report of the storage team: the outage began at 09:58",
	"Minutes of the review: who follows up on the outage",
	"Runbook: what to do when the storage does not answer",
}

// tools are what the scripted retriever says that it can do. It deletes nothing.
var tools = []any{
	tool("search", "Find documents that have all words of a query", "query"),
	tool("fetch_document", "Get a document by its number", "number"),
	tool("delete_document", "Delete a document by its number", "number"),
}

// JSON-RPC 2.0, section 5.1.
const (
	rpcParse         = -32700
	rpcNoMethod      = -32601
	rpcInvalidParams = -32602
)

// rpcRequest is a JSON-RPC 2.0 request, or a notification if it has no id.
type rpcRequest struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Name      string `json:"name"`
		Arguments struct {
			Query  string `json:"query"`
			Number string `json:"number"`
		} `json:"arguments"`
	} `json:"params"`
}

// scriptedRetriever stands in for a search over documents: an MCP server with
// three tools. It is no fake of the mesh's own parts.
func scriptedRetriever() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mcp", mcp)
	return mux
}

func mcp(w http.ResponseWriter, r *http.Request) {
	var req rpcRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, rpcError(nil, rpcParse, "this is no JSON-RPC request"))
		return
	}
	if req.ID == nil { // a notification has no answer
		w.WriteHeader(http.StatusAccepted)
		return
	}
	switch req.Method {
	case "initialize":
		answer(w, rpcResult(req.ID, map[string]any{
			"protocolVersion": mcpVersion, "capabilities": map[string]any{"tools": map[string]any{}},
			"serverInfo": map[string]any{"name": "retriever", "version": "1"},
		}))
	case "ping":
		answer(w, rpcResult(req.ID, map[string]any{}))
	case "tools/list":
		answer(w, rpcResult(req.ID, map[string]any{"tools": tools}))
	case "tools/call":
		use(w, &req)
	default:
		answer(w, rpcError(req.ID, rpcNoMethod, "no such method"))
	}
}

// use calls a tool.
func use(w http.ResponseWriter, req *rpcRequest) {
	switch req.Params.Name {
	case "search":
		answer(w, rpcResult(req.ID, map[string]any{"content": search(req.Params.Arguments.Query), "isError": false}))
	case "fetch_document":
		n, err := strconv.Atoi(req.Params.Arguments.Number)
		if err != nil || n < 1 || n > len(corpus) {
			answer(w, rpcResult(req.ID, map[string]any{"content": texts("there is no such document"), "isError": true}))
			return
		}
		answer(w, rpcResult(req.ID, map[string]any{"content": texts(corpus[n-1]), "isError": false}))
	default:
		answer(w, rpcError(req.ID, rpcInvalidParams, "there is no such tool"))
	}
}

func tool(name, description, argument string) map[string]any {
	return map[string]any{
		"name": name, "description": description,
		"inputSchema": map[string]any{
			"type": "object", "required": []any{argument},
			"properties": map[string]any{argument: map[string]any{"type": "string"}},
		},
	}
}

// texts are MCP's content.
func texts(all ...string) []any {
	content := []any{}
	for _, text := range all {
		content = append(content, map[string]any{"type": "text", "text": text})
	}
	return content
}

// search gives the documents that have all words of a query, as MCP's content.
func search(query string) []any {
	var found []string
	for _, document := range corpus {
		all := true
		for _, word := range strings.Fields(strings.ToLower(query)) {
			all = all && strings.Contains(strings.ToLower(document), word)
		}
		if all {
			found = append(found, document)
		}
	}
	return texts(found...)
}

func rpcResult(id json.RawMessage, result any) map[string]any {
	return map[string]any{"jsonrpc": "2.0", "id": id, "result": result}
}

func rpcError(id json.RawMessage, code int, message string) map[string]any {
	return map[string]any{"jsonrpc": "2.0", "id": id, "error": map[string]any{"code": code, "message": message}}
}
