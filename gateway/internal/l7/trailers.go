package l7

import (
	"fmt"
	"strings"
)

// CheckAnnounced refuses the value of a Trailer field that announces framing.
func CheckAnnounced(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.ToLower(strings.Trim(name, " \t")); FramesMessage(name) {
			return fmt.Errorf("%s cannot be a trailer", name)
		}
	}
	return nil
}

// FramesMessage names the fields that say how long content is or whom it is for.
func FramesMessage(name string) bool {
	switch name {
	case "content-length", "transfer-encoding", "trailer", "host":
		return true
	}
	return false
}

// StripTrailers removes from trailers what a reader that merges them into the head
// would believe (RFC 9110 6.5.1). Trailers that frame the content are an error.
func StripTrailers(f *Fields) error {
	for i := range *f {
		if FramesMessage((*f)[i].Name) {
			return fmt.Errorf("%s cannot be a trailer", (*f)[i].Name)
		}
	}
	f.DelFunc(NotInTrailers)
	return nil
}

// NotInTrailers names what StripTrailers removes.
func NotInTrailers(name string) bool {
	switch name {
	case "authorization", "cookie", "set-cookie", "te", "connection", "upgrade", "expect", "range", "max-forwards",
		"content-type", "content-encoding", "content-range", "cache-control", "traceparent", "tracestate",
		"x-api-key", "api-key":
		return true
	}
	for _, prefix := range [...]string{"proxy-", "if-", "x-forwarded-", "sallyport-", "x-real-ip"} {
		if hasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
