package artifact

import (
	"net/http"
	"slices"
	"strings"
)

// registry reads what is asked of an OCI registry (distribution specification v1.1,
// "Endpoints").
func registry(r *request) Ask {
	s := r.segments
	if s[0] != "v2" {
		return Ask{}
	}
	if len(s) == 2 && s[1] == "" {
		return Ask{Operation: reading(r.method, Ping, Ping)}
	}
	n := len(s)
	switch {
	case n >= 5 && s[n-3] == "blobs" && s[n-2] == "uploads":
		return inRepository(s[1:n-3], upload(r, s[n-1]))
	case n < 4:
		return Ask{}
	case s[n-2] == "blobs" && isDigest(s[n-1]):
		return inRepository(s[1:n-2], Ask{Operation: kept(r.method), Reference: s[n-1]})
	case s[n-2] == "manifests" && (isDigest(s[n-1]) || isTag(s[n-1])):
		return inRepository(s[1:n-2], manifest(r, s[n-1]))
	case s[n-2] == "tags" && s[n-1] == "list":
		return inRepository(s[1:n-2], Ask{Operation: reading(r.method, List, "")})
	case s[n-2] == "referrers" && isDigest(s[n-1]):
		return inRepository(s[1:n-2], Ask{Operation: reading(r.method, List, ""), Reference: s[n-1]})
	}
	return Ask{}
}

// inRepository is what is asked of a repository; nothing if that is no name of one, or
// one in which a server could take a segment for an endpoint's.
func inRepository(segments []string, a Ask) Ask {
	for _, word := range [...]string{"blobs", "manifests", "tags", "referrers"} {
		if slices.Contains(segments, word) {
			return Ask{}
		}
	}
	if a.Name = strings.Join(segments, "/"); !isRepository(a.Name) {
		return Ask{}
	}
	return a
}

// reading is get for a GET, head for a HEAD, and "" for another method.
func reading(method, get, head string) string {
	switch method {
	case http.MethodGet:
		return get
	case http.MethodHead:
		return head
	}
	return ""
}

// kept is what a method asks for of what is there.
func kept(method string) string {
	if method == http.MethodDelete {
		return Delete
	}
	return reading(method, Pull, Stat)
}

// manifest is what is asked of one. Of what kind it is that is pushed, its content tells.
func manifest(r *request, reference string) Ask {
	if r.method == http.MethodPut {
		return Ask{Operation: Push, Reference: reference}
	}
	return Ask{Operation: kept(r.method), Reference: reference}
}

// upload reads what is asked of an upload, and of the place where they begin, whose
// reference is empty.
func upload(r *request, reference string) Ask {
	q, ok := parameters(r.query, []string{"digest", "mount", "from"}, anyName)
	mounts, begins := q["mount"] != "", reference == ""
	switch {
	case !ok, !mounts && q["from"] != "", mounts && (!begins || r.method != http.MethodPost || q["digest"] != ""):
		return Ask{}
	case mounts:
		return mount(q["mount"], q["from"])
	case begins && r.method == http.MethodPost, !begins && (r.method == http.MethodPatch || r.method == http.MethodPut):
		return Ask{Operation: Push, Reference: digestOf(q["digest"])}
	case !begins && r.method == http.MethodGet:
		return Ask{Operation: Stat}
	case !begins && r.method == http.MethodDelete:
		return Ask{Operation: Abort}
	}
	return Ask{}
}

// mount is that of a blob of another repository; the registry may look for one itself
// if the request names none (distribution specification v1.1, "Mounting a blob from
// another repository").
func mount(digest, from string) Ask {
	if !isDigest(digest) || from != "" && !isRepository(from) {
		return Ask{}
	}
	return Ask{Operation: Mount, Reference: digest, Source: from}
}

func digestOf(s string) string {
	if !isDigest(s) {
		return ""
	}
	return s
}
