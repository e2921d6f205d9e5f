package inspect

import (
	"mime"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// Media is what a content says that it is.
type Media uint8

// What a content may be.
const (
	OtherMedia Media = iota
	JSON
	EventStream
)

// MediaOf is what the one content-type says. It is not ok if there is none, or
// more, or if it names another charset than UTF-8.
func MediaOf(fields l7.Fields) (kind Media, ok bool) {
	for i := range fields {
		if fields[i].Name != "content-type" {
			continue
		}
		if ok {
			return OtherMedia, false
		}
		if kind, ok = mediaOfType(fields[i].Value); !ok {
			return OtherMedia, false
		}
	}
	return kind, ok
}

func mediaOfType(value string) (kind Media, ok bool) {
	switch value { // as hardly any is not
	case "application/json":
		return JSON, true
	case "text/event-stream":
		return EventStream, true
	}
	name, parameters, err := mime.ParseMediaType(value)
	if err != nil {
		return OtherMedia, false
	}
	if charset, given := parameters["charset"]; given && !strings.EqualFold(charset, "utf-8") {
		return OtherMedia, false
	}
	switch {
	case name == "application/json", strings.HasPrefix(name, "application/") && strings.HasSuffix(name, "+json"):
		return JSON, true
	case name == "text/event-stream":
		return EventStream, true
	default:
		return OtherMedia, true
	}
}
