package anthropic

import (
	"mime"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// media is what a content says that it is.
type media uint8

const (
	isOther media = iota
	isJSON
	isStream
)

// mediaOf is what the only content-type says. It is not ok if there is none, or
// more than one, or one that names another charset than UTF-8.
func mediaOf(fields l7.Fields) (kind media, ok bool) {
	types := 0
	for i := range fields {
		if fields[i].Name == "content-type" {
			types++
			kind, ok = mediaOfType(fields[i].Value)
		}
	}
	if types > 1 || !ok {
		return isOther, false
	}
	return kind, true
}

func mediaOfType(value string) (kind media, ok bool) {
	switch value { // as hardly any is not
	case "application/json":
		return isJSON, true
	case "text/event-stream":
		return isStream, true
	}
	name, parameters, err := mime.ParseMediaType(value)
	if err != nil {
		return isOther, false
	}
	if charset, there := parameters["charset"]; there && !strings.EqualFold(charset, "utf-8") {
		return isOther, false
	}
	switch {
	case name == "application/json", strings.HasPrefix(name, "application/") && strings.HasSuffix(name, "+json"):
		return isJSON, true
	case name == "text/event-stream":
		return isStream, true
	default:
		return isOther, true
	}
}
