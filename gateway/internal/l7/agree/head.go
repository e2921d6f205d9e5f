package agree

import (
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// namesModel says that a field of that name holds the model that the request
// is for. They are few, since a field that means something else in one place
// would be refused there: x-model is what many gateways route by when told to,
// x-ai-eg-model is Envoy AI Gateway's, x-gateway-model-name that of the Gateway
// API's inference extension. Fields that are meant to differ from the content,
// such as overrides, do not belong here.
func namesModel(name string) bool {
	return name == "x-model" || name == "x-ai-eg-model" || name == "x-gateway-model-name"
}

// claimModel takes the model that the head names. The content need not name
// one: with some APIs it is in the path.
func (c *Check) claimModel(fields l7.Fields) {
	claim := &c.claims[model]
	for i := range fields {
		f := &fields[i]
		switch {
		case !namesModel(f.Name):
		case claim.field == "":
			claim.field, claim.value = f.Name, f.Value
		case claim.value != f.Value:
			c.fail(&Error{Kind: ErrDisagree, Field: f.Name, Why: "is " + quote(f.Value) + ", " + claim.field + " is " + quote(claim.value)})
		}
	}
}

// only is the value of the one field of that name. several says that there are
// more, and readers may take any of them.
func only(fields l7.Fields, name string) (value string, there, several bool) {
	for i := range fields {
		if fields[i].Name == name {
			if there {
				return value, true, true
			}
			value, there = fields[i].Value, true
		}
	}
	return value, there, false
}

// readable says whether the content is to be read as JSON, and why it cannot
// be, although it is. Without a type there are servers that read it so.
func readable(fields l7.Fields) (json bool, why string) {
	types := 0
	for i := range fields {
		switch f := &fields[i]; f.Name {
		case "content-type":
			for media := range strings.SplitSeq(strings.ToLower(f.Value), ",") {
				types++
				media, parameters, _ := strings.Cut(media, ";")
				json = json || isJSON(strings.TrimSpace(media))
				if !inUTF8(parameters) {
					why = "the content is not in UTF-8"
				}
			}
		case "content-encoding":
			if !strings.EqualFold(f.Value, "identity") {
				why = "the content is compressed"
			}
		}
	}
	switch {
	case types == 0:
		return true, why
	case !json:
		return false, ""
	case types > 1:
		return true, "the content has more than one type"
	}
	return true, why
}

// isJSON says that a media type is JSON: RFC 8259 section 11, RFC 6839 section
// 3.1.
func isJSON(media string) bool {
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

// inUTF8 says that the parameters of a media type, in lower case, name no other
// charset. JSON has none, but there are readers that go by it.
func inUTF8(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		value = strings.Trim(value, " \t\"")
		if strings.TrimSpace(name) == "charset" && value != "utf-8" && value != "utf8" {
			return false
		}
	}
	return true
}
