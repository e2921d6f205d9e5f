package transfer

import (
	"mime"
	"path"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// linedTypes are media types of texts that have a record on each line: JSON Lines and its
// other names, CSV (RFC 4180), and IANA's tab-separated-values.
var linedTypes = [...]string{
	"application/jsonl", "application/jsonlines", "application/x-jsonlines", "application/x-ndjson", "application/ndjson",
	"text/csv", "text/tab-separated-values",
}

// linedNames are how the names of files end that hold such a text.
var linedNames = [...]string{".jsonl", ".ndjson", ".csv", ".tsv"}

// lined says that an object of that path, whose content has those fields, has a record on
// each line.
func lined(object string, content l7.Fields) bool {
	value, _ := content.Only("content-type")
	kind, _, err := mime.ParseMediaType(value)
	for _, t := range linedTypes {
		if err == nil && kind == t {
			return true
		}
	}
	end := strings.ToLower(path.Ext(object))
	for _, n := range linedNames {
		if end == n {
			return true
		}
	}
	return false
}
