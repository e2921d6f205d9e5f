package openai

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

// mediaOf is what the one content-type says. It is not ok if there is none, or
// more, or if it names another charset than UTF-8.
func mediaOf(fields l7.Fields) (kind media, ok bool) {
	for i := range fields {
		if fields[i].Name != "content-type" {
			continue
		}
		if ok {
			return isOther, false
		}
		if kind, ok = mediaOfType(fields[i].Value); !ok {
			return isOther, false
		}
	}
	return kind, ok
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
	if charset, given := parameters["charset"]; given && !strings.EqualFold(charset, "utf-8") {
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
