package anthropic

import (
	"net/url"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
)

// route is what a head says of a request, and its query.
func route(head *l7.RequestHead) (ask inspect.Ask, query string) {
	path, query, _ := strings.Cut(head.Path, "?")
	ask = inspect.NewAsk()
	steps := locate(path)
	if len(steps) == 0 {
		return ask, query
	}
	ask.Operation, ask.Model = operation(head.Method, steps)
	if ask.Operation != "" && ask.Operation != Chat {
		ask.Streamed = inspect.No
	}
	return ask, query
}

// locate gives the steps of a path behind /v1, without their escapes; none if it is
// not under that, or has a step that readers understand in more than one way.
func locate(path string) []string {
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return nil
	}
	steps := strings.Split(rest, "/")
	for i, step := range steps {
		plain, err := url.PathUnescape(step)
		if err != nil || plain == "" || plain == "." || plain == ".." || strings.Contains(plain, "/") || !inspect.Nameable(plain) {
			return nil
		}
		steps[i] = plain
	}
	return steps
}

// operation is what a method asks for at some steps, and the model that they name;
// "" if it is nothing of ours.
func operation(method string, steps []string) (name, model string) {
	switch {
	case steps[0] == "models" && method == "GET":
		return ofModels(steps[1:])
	case steps[0] != "messages":
		return "", ""
	case len(steps) > 1 && steps[1] == "batches":
		return ofBatches(method, steps[2:]), ""
	case method != "POST":
		return "", ""
	case len(steps) == 1:
		return Chat, ""
	case len(steps) == 2 && steps[1] == "count_tokens":
		return CountTokens, ""
	default:
		return "", ""
	}
}

func ofModels(steps []string) (name, model string) {
	switch len(steps) {
	case 0:
		return ListModels, ""
	case 1:
		return GetModel, steps[0]
	default:
		return "", ""
	}
}

// ofBatches is what a method asks for at some steps behind the batches': a batch's
// id, and what of it.
func ofBatches(method string, steps []string) string {
	what := method
	switch {
	case len(steps) == 1:
		what += " one"
	case len(steps) == 2:
		what += " one " + steps[1]
	case len(steps) > 2:
		return ""
	}
	switch what {
	case "POST":
		return CreateBatch
	case "GET":
		return ListBatches
	case "GET one":
		return GetBatch
	case "DELETE one":
		return DeleteBatch
	case "POST one cancel":
		return CancelBatch
	case "GET one results":
		return BatchResults
	default:
		return ""
	}
}

// modelIn is the model that a query names; "" if it names none, which is as it
// should be. There are readers that take a semicolon for what separates (W3C, HTML
// 4.01, B.2.2).
func modelIn(query string) (model string, err error) {
	for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		if name, err = url.QueryUnescape(name); err != nil {
			return "", inspect.Unreadable("the query is not well formed", err)
		}
		if !strings.EqualFold(name, "model") {
			continue
		}
		value, err = url.QueryUnescape(value)
		if err != nil || value == "" || name != "model" || strings.Contains(query, ";") || model != "" && model != value {
			return "", inspect.Ambiguous("the query names a model, and not in one way", err)
		}
		model = value
	}
	return model, nil
}
