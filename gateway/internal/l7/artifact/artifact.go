// Package artifact says what a request asks of what keeps models, datasets and
// images: an OCI registry, an object store with S3's interface, or a hub. The head
// alone tells it, so that both gateways come to the same, each on its own. Nothing of
// it decides.
//
// One invariant: where it tells of something, every server finds the same in that head.
// Where two could differ, it tells of nothing.
package artifact

import (
	"net/url"
	"strings"

	"github.com/sallyport-mesh/sallyport/gateway/internal/l7"
	"github.com/sallyport-mesh/sallyport/gateway/internal/l7/inspect"
	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// What may be asked for: the same words for all protocols.
const (
	Ping   = "ping"   // whether the service speaks the protocol
	List   = "list"   // what there is, at the name or below
	Stat   = "stat"   // what is known of it, without its content; how far an upload is
	Pull   = "pull"   // its content, or a part of that
	Push   = "push"   // to store content, or to begin, go on with or complete that
	Abort  = "abort"  // to give an upload up
	Mount  = "mount"  // to have a blob of another repository, with no bytes on the wire
	Copy   = "copy"   // to have the content of another object, likewise
	Delete = "delete" // to delete it
)

// Kinds of artifacts, where a head tells.
const (
	Model   = "model"
	Dataset = "dataset"
	Space   = "space" // a hub's program that runs there
	Image   = "image"
)

// Ask is what one request asks for. What is empty is not known, or not there.
type Ask struct {
	Operation string // one of the above
	Name      string // a repository, BUCKET/KEY or ORGANIZATION/REPOSITORY
	Reference string // a tag, digest, version or revision
	Kind      string // one of the above
	Source    string // what is mounted or copied, named as Name is
}

// Of is what a request to a service of that protocol asks for; of no operation if that
// cannot be told, or the protocol keeps no artifacts.
func Of(protocol string, head *l7.RequestHead) Ask {
	read := readers(protocol)
	if read == nil || head.Method == "CONNECT" {
		return Ask{}
	}
	path, query, _ := strings.Cut(head.Path, "?")
	segments, ok := segmentsOf(path)
	if !ok {
		return Ask{}
	}
	a := read(&request{head.Method, segments, query, head.Fields})
	if a.Operation == "" || !a.nameable() {
		return Ask{}
	}
	return a
}

// request is a head taken apart.
type request struct {
	method   string
	segments []string // of the path, unescaped; the last is empty behind a slash at its end
	query    string
	fields   l7.Fields
}

// Kept says that services of a protocol keep artifacts.
func Kept(protocol string) bool { return readers(protocol) != nil }

func readers(protocol string) func(*request) Ask {
	switch protocol {
	case "oci":
		return registry
	case "s3":
		return bucket
	case "hub":
		return hub
	}
	return nil
}

// Describe tells a policy what is known of it.
func (a *Ask) Describe(to *policy.Attributes) {
	for _, s := range [...]struct {
		at   policy.Attribute
		text string
	}{{policy.ArtifactOperation, a.Operation}, {policy.ArtifactName, a.Name}, {policy.ArtifactKind, a.Kind}, {policy.ArtifactSource, a.Source}} {
		if s.text != "" {
			to.SetString(s.at, s.text)
		}
	}
}

// Record has an operation whose name is the request say what it asks for, if that is
// known.
func (a *Ask) Record(o *crossingv1.Operation) {
	if a.Operation == "" {
		return
	}
	if o.Request == "" {
		o.Request = o.Name
	}
	o.Name = a.Operation
	if *a != (Ask{Operation: a.Operation}) {
		o.Artifact = &crossingv1.Artifact{Name: a.Name, Reference: a.Reference, Kind: a.Kind, Source: a.Source}
	}
}

// nameable says that what it tells can be recorded as it is.
func (a *Ask) nameable() bool {
	return inspect.Nameable(a.Name) && inspect.Nameable(a.Reference) && inspect.Nameable(a.Source)
}

// segmentsOf takes an absolute path apart. It is not ok if a server could find other
// segments there: by an escape of what separates, or of an escape, by dot segments or
// empty ones (RFC 3986 section 5.2.4), or by a plus sign, which S3 takes for a space
// and others for itself (aws/aws-sdk-java#2128, xtyxtyx/minio-dart#115): clients escape it.
func segmentsOf(path string) (segments []string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok || strings.ContainsAny(path, "+;\\#") {
		return nil, false
	}
	segments = strings.Split(rest, "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil || strings.ContainsAny(plain, "/%\\") || plain == "." || plain == ".." || plain == "" && i < len(segments)-1 {
			return nil, false
		}
		segments[i] = plain
	}
	return segments, true
}

// parameters are those of a query of which a reader knows the names. It is not ok if
// one of them stands twice, or in another case, or if it cannot be told where one ends.
// others says of the rest whether they may be there.
func parameters(query string, known []string, others func(name string) bool) (found map[string]string, ok bool) {
	found = map[string]string{}
	if strings.Contains(query, ";") { // which parts parameters, too, for some servers
		return nil, false
	}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, false
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, false
		}
		switch spelled := named(known, name); {
		case spelled == "" && others(name):
		case spelled != name:
			return nil, false
		default:
			if _, twice := found[name]; twice {
				return nil, false
			}
			found[name] = value
		}
	}
	return found, true
}

// named is the known name that is the same but for case, "" if there is none.
func named(known []string, name string) string {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return k
		}
	}
	return ""
}

func anyName(string) bool { return true }
