package render

import (
	"encoding/json"
	"strconv"

	"github.com/sallyport-mesh/sallyport/gateway/crossing/genai"
)

// Attributes makes an object of attributes, by their names. Values keep their types.
func Attributes(all []genai.Attribute) Object {
	o := make(Object, len(all))
	for i, a := range all {
		o[i] = Member{a.Name, attribute(a.Value)}
	}
	return o
}

func attribute(value any) any {
	switch v := value.(type) {
	case int64:
		return Number(v)
	case float64:
		return json.Number(strconv.FormatFloat(v, 'g', -1, 64))
	case []string:
		return Strings(v...)
	}
	return value // a string or a bool
}
