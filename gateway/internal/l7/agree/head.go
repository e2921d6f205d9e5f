package agree

import (
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
)

// namesModel says that a field of that name holds the model that the request
// is for. They are few, since a field that means something else in one place
// would be refused there: x-model is what many gateways route by when told to;
// x-ai-eg-model is Envoy AI Gateway's and x-gateway-model-name that of the Gateway
// API's inference extension (body-based routing), which both copy it from the
// content's model. Fields that are meant to differ from the content, such as
// x-gateway-model-name-rewrite or helicone-model-override, do not belong here: who
// renames the model in the content must rename or drop the others.
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

// likeness is how much a content is to be taken for JSON.
type likeness int

const (
	isNone likeness = iota // it is something else
	isText                 // it says that it is, and many servers do not look
	isJSON                 // it is
)

// readable says whether the content is to be read as JSON, and why it cannot
// be, although it is. Without a type there are servers that read it so.
func readable(fields l7.Fields) (as likeness, why string) {
	types, utf8 := Types(fields)
	for _, media := range types {
		as = max(as, liken(media))
	}
	if len(types) == 0 {
		as = isJSON
	}
	switch {
	case as == isNone:
		return as, ""
	case len(types) > 1 && as == isJSON:
		return as, "the content has more than one type"
	case compressed(fields):
		return as, "the content is compressed"
	case !utf8:
		return as, "the content is not in UTF-8"
	}
	return as, ""
}

// compressed says that the content is in a coding, which is not undone here.
func compressed(fields l7.Fields) bool {
	for i := range fields {
		if fields[i].Name == "content-encoding" && !strings.EqualFold(fields[i].Value, "identity") {
			return true
		}
	}
	return false
}

// Types are what the head of a message says its content is: media types, in lower case
// and without parameters, in all its fields. utf8 says that no parameter names another
// charset: JSON has none, but there are readers that go by it.
func Types(fields l7.Fields) (types []string, utf8 bool) {
	utf8 = true
	for i := range fields {
		if fields[i].Name != "content-type" {
			continue
		}
		for media := range strings.SplitSeq(strings.ToLower(fields[i].Value), ",") {
			media, parameters, _ := strings.Cut(media, ";")
			types = append(types, strings.TrimSpace(media))
			utf8 = utf8 && inUTF8(parameters)
		}
	}
	return types, utf8
}

// IsJSON says that a media type, as Types gives it, is JSON.
func IsJSON(media string) bool { return liken(media) == isJSON }

// liken takes JSON for what it is: RFC 8259 section 11, RFC 6839 section 3.1. A
// browser sends text and forms to anywhere without asking, and curl -d says that
// whatever it sends is a form.
func liken(media string) likeness {
	switch {
	case media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"):
		return isJSON
	case media == "" || media == "text/plain" || media == "application/x-www-form-urlencoded":
		return isText
	}
	return isNone
}

// wide says of the first byte of a content that it is a byte order mark's or half
// a character of UTF-16 or UTF-32, which some readers of JSON understand.
func wide(first byte) bool { return first == 0 || first == 0xef || first == 0xfe || first == 0xff }

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
