package l7

import "strings"

// StripIncoming removes from what came in every field that ends at this
// gateway: those of the connection (RFC 9110 7.6.1), and those in which a
// gateway tells a workload who calls and how, which nobody else may say:
// x-forwarded-*, x-real-ip and sallyport-*. "te: trailers" stays, for gRPC.
// Done twice it removes no more.
func StripIncoming(f *Fields) {
	ends, trailers := f.Connection(), false
	kept := (*f)[:0]
	for _, field := range *f {
		if ends.Owns(field.Name) || gatewayOnly(field.Name) {
			trailers = trailers || field.Name == "te" && HasToken(field.Value, "trailers")
			continue
		}
		kept = append(kept, field)
	}
	if trailers {
		kept = append(kept, Field{"te", "trailers"})
	}
	*f = kept
}

// StripConnection removes the fields of one connection, te among them, from a
// head or trailers of either direction.
func StripConnection(f *Fields) {
	ends := f.Connection()
	kept := (*f)[:0]
	for _, field := range *f {
		if !ends.Owns(field.Name) {
			kept = append(kept, field)
		}
	}
	*f = kept
}

// Connection tells the fields that end with a message's connection from those
// that go on (RFC 9110 7.6.1).
type Connection struct {
	few  [2]string // names that the message itself gives; more than a few are rare
	more []string
}

// Connection is that of the message whose fields these are.
func (f Fields) Connection() (c Connection) {
	n := 0
	for i := range f {
		if f[i].Name != "connection" {
			continue
		}
		for list, more := f[i].Value, true; more; {
			var name string
			name, list, more = cutToken(list)
			switch {
			case HopByHop(name) || name == "":
			case n < len(c.few):
				c.few[n] = name
				n++
			default:
				c.more = append(c.more, name)
			}
		}
	}
	return c
}

// Owns says that the field of that lower-case name ends with the connection.
// Connection cannot name the length of the content away, which would change how
// the body is read behind us.
func (c *Connection) Owns(name string) bool {
	if HopByHop(name) {
		return true
	}
	if c.few[0] == "" || name == "content-length" {
		return false
	}
	for _, n := range c.few {
		if equalFold(n, name) {
			return true
		}
	}
	for _, n := range c.more {
		if equalFold(n, name) {
			return true
		}
	}
	return false
}

// HopByHop names the fields of one connection, whatever Connection says.
func HopByHop(name string) bool {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "te",
		"proxy-authorization", "http2-settings":
		return true
	}
	return false
}

// gatewayOnly takes an underscore for a dash: CGI and WSGI servers do so too.
func gatewayOnly(name string) bool {
	return hasPrefix(name, "x-forwarded-") || hasPrefix(name, "sallyport-") ||
		len(name) == len("x-real-ip") && hasPrefix(name, "x-real-ip")
}

// GatewaysOwn names the fields of an answer in which a gateway speaks to the caller,
// and destinations do not.
func GatewaysOwn(name string) bool { return hasPrefix(name, "sallyport-") }

// hasPrefix is strings.HasPrefix with underscores in name for dashes.
func hasPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if c := name[i]; c != prefix[i] && (c != '_' || prefix[i] != '-') {
			return false
		}
	}
	return true
}

// HasToken says that a comma-separated list has the token, which is in lower
// case and stands there in any.
func HasToken(list, token string) bool {
	for more := true; more; {
		var t string
		if t, list, more = cutToken(list); equalFold(t, token) {
			return true
		}
	}
	return false
}

// cutToken takes the first element of a comma-separated list.
func cutToken(list string) (first, rest string, more bool) {
	first, rest, more = strings.Cut(list, ",")
	return strings.Trim(first, " \t"), rest, more
}

// equalFold says that s is lower in some case. Only ASCII has cases here: names
// are tokens.
func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if classes[c]&upper != 0 {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
