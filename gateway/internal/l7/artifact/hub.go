package artifact

import (
	"net/http"
	"slices"
	"strings"
)

// hub reads what is asked of a hub with the Hugging Face Hub's paths: those of files,
// /[datasets/|spaces/][ORGANIZATION/]REPOSITORY/resolve/REVISION/FILE, and those of the
// API (its client huggingface_hub 1.x: constants.py, HUGGINGFACE_CO_URL_TEMPLATE and
// REPO_TYPES_URL_PREFIXES; hf_api.py; utils/_xet.py). That escapes a revision as a whole,
// so that of one with a slash nothing is told. What Git LFS is asked for, its content
// tells (lfs.py, .../info/lfs/objects/batch).
func hub(r *request) Ask {
	s := r.segments
	if s[0] == "api" {
		return hubAPI(r, s[1:])
	}
	kind := Model
	if of := kindOfPath(s[0]); of != "" {
		kind, s = of, s[1:]
		if kind == Model { // files of models have no prefix
			return Ask{}
		}
	}
	at := slices.IndexFunc(s, isFiles)
	if s[0] == "kernels" || s[0] == "buckets" || at < 1 || at > 2 || len(s) < at+3 || s[len(s)-1] == "" || slices.ContainsFunc(s[at+1:at+2], isFiles) {
		return Ask{}
	}
	return Ask{Operation: reading(r.method, Pull, Stat), Name: strings.Join(s[:at], "/"), Reference: s[at+1], Kind: kind}
}

// isFiles says that what follows is a revision and a file.
func isFiles(segment string) bool { return segment == "resolve" || segment == "raw" }

func kindOfPath(segment string) string {
	switch segment {
	case "models":
		return Model
	case "datasets":
		return Dataset
	case "spaces":
		return Space
	}
	return ""
}

// hubAPI reads what is asked of the API: of all repositories of a kind, of one, or of
// something at it.
func hubAPI(r *request, s []string) Ask {
	if len(s) == 0 || kindOfPath(s[0]) == "" {
		return Ask{}
	}
	a, rest := Ask{Kind: kindOfPath(s[0])}, s[1:]
	if len(rest) > 0 && rest[len(rest)-1] == "" {
		return Ask{}
	}
	switch {
	case len(rest) == 0:
		a.Operation = reading(r.method, List, "")
		return a
	case len(rest) <= 2:
		if len(rest) == 2 && operationAt(http.MethodGet, rest[1])+operationAt(http.MethodPost, rest[1]) != "" {
			return Ask{} // of a repository without an organization, or one of such a name
		}
		a.Operation = reading(r.method, Stat, Stat)
	default:
		a.Operation = operationAt(r.method, rest[2])
		if len(rest) > 3 {
			a.Reference = rest[3]
		}
	}
	a.Name = strings.Join(rest[:min(len(rest), 2)], "/")
	return a
}

// operationAt is what a method asks for at that place of a repository.
func operationAt(method, place string) string {
	switch place {
	case "revision", "paths-info":
		if method == http.MethodGet || method == http.MethodPost && place == "paths-info" {
			return Stat
		}
	case "tree", "refs", "commits":
		return reading(method, List, "")
	case "xet-read-token":
		return reading(method, Pull, "")
	case "xet-write-token":
		return reading(method, Push, "")
	case "preupload", "commit":
		if method == http.MethodPost {
			return Push
		}
	}
	return ""
}
