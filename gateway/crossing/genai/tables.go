package genai

// fact is what a record can say that has a name.
type fact int

// The facts, in the order in which attributes are given.
const (
	operationName fact = iota
	provider
	requestModel
	requestMaxTokens
	requestStream
	responseID
	responseModel
	finishReasons
	inputTokens
	outputTokens
	cacheReadTokens
	cacheWrittenTokens
	reasoningTokens
	toolName
	promptName
	agentName
	mcpMethod
	mcpResource
	serverAddress
	serverPort
	errorType

	crossingID
	crossingState
	crossingOpened
	crossingDuration
	traceID
	transitionFrom
	transitionTo
	transitionOwner
	source
	destination
	decision
	reason
	intent
	policySerial
	protocol
	service
	operation
	batchSize
	dataClass
	dataClassSource
	answerClass
	mcpSession
	countedTokens
	firstToken
	longestGap
	toolsListed
	toolsHidden
	toolsChanged
	facts
)

// table is what one version calls the facts; what it has no name for is empty.
type table struct {
	version string
	names   [facts]string
}

// tables are the versions, oldest first. Each name is in a registry of the version that
// is named; testdata has those registries' names and types.
func tables() []table {
	return []table{
		// Repository open-telemetry/semantic-conventions, tag v1.36.0, which those that
		// were there before stay with by default: model/gen-ai/registry.yaml,
		// model/server/registry.yaml and model/error/registry.yaml. It has nothing of MCP,
		// of caches or of reasoning.
		{"v1.36.0", v1360()},
		// The same at v1.37.0. The system is called a provider.
		{"v1.37.0", v1370()},
		// The same at v1.41.0, the last one before generative AI moved out of that
		// repository, with model/mcp/registry.yaml.
		{"v1.41.0", v1410()},
		// Repository open-telemetry/semantic-conventions-genai, v0.1.0, its first release:
		// model/gen-ai/registry.yaml and model/mcp/registry.yaml, and changelog.d/440, by
		// which what is written to a cache is no longer created there.
		{"genai-v0.1.0", genai010()},
	}
}

func v1360() [facts]string {
	return [facts]string{
		operationName: "gen_ai.operation.name", provider: "gen_ai.system",
		requestModel: "gen_ai.request.model", requestMaxTokens: "gen_ai.request.max_tokens",
		responseID: "gen_ai.response.id", responseModel: "gen_ai.response.model", finishReasons: "gen_ai.response.finish_reasons",
		inputTokens: "gen_ai.usage.input_tokens", outputTokens: "gen_ai.usage.output_tokens",
		toolName: "gen_ai.tool.name", agentName: "gen_ai.agent.name",
		serverAddress: "server.address", serverPort: "server.port", errorType: "error.type",
	}
}

func v1370() [facts]string {
	names := v1360()
	names[provider] = "gen_ai.provider.name"
	return names
}

func v1410() [facts]string {
	names := v1370()
	names[requestStream] = "gen_ai.request.stream"
	names[cacheReadTokens] = "gen_ai.usage.cache_read.input_tokens"
	names[cacheWrittenTokens] = "gen_ai.usage.cache_creation.input_tokens"
	names[reasoningTokens] = "gen_ai.usage.reasoning.output_tokens"
	names[promptName] = "gen_ai.prompt.name"
	names[mcpMethod] = "mcp.method.name"
	names[mcpResource] = "mcp.resource.uri"
	return names
}

func genai010() [facts]string {
	names := v1410()
	names[cacheWrittenTokens] = "gen_ai.usage.cache_write.input_tokens"
	return names
}

// own are our names for what no convention has a name for, or not in every version.
//
// The time of the first token is one of them. gen_ai.response.time_to_first_chunk is not
// what it is: the first chunk of an answer may have no content. So is the session, which
// is a digest: mcp.session.id is the id itself, which no record has.
func own() [facts]string {
	return [facts]string{
		cacheReadTokens: "sallyport.tokens.cache_read", cacheWrittenTokens: "sallyport.tokens.cache_written",
		reasoningTokens: "sallyport.tokens.reasoning", countedTokens: "sallyport.tokens.counted_output",

		crossingID: "sallyport.crossing.id", crossingState: "sallyport.crossing.state",
		crossingOpened: "sallyport.crossing.opened", crossingDuration: "sallyport.crossing.duration",
		traceID: "sallyport.trace.id", source: "sallyport.source.id", destination: "sallyport.destination.id",
		transitionFrom: "sallyport.transition.from", transitionTo: "sallyport.transition.to", transitionOwner: "sallyport.transition.owner",
		decision: "sallyport.decision", reason: "sallyport.reason", intent: "sallyport.intent", policySerial: "sallyport.policy.serial",
		protocol: "sallyport.protocol", service: "sallyport.service", operation: "sallyport.operation", batchSize: "sallyport.batch.size",
		dataClass: "sallyport.data.class", dataClassSource: "sallyport.data.class_source",
		answerClass: "sallyport.answer.data_class",
		mcpSession:  "sallyport.mcp.session_digest", firstToken: "sallyport.answer.first_token", longestGap: "sallyport.answer.longest_gap",
		toolsListed: "sallyport.tools.listed", toolsHidden: "sallyport.tools.hidden", toolsChanged: "sallyport.tools.changed",
	}
}
