// Package kept says what a policy has gateways keep of a content: nothing, unless an
// intent says so; a salted hash of it; or all of it, sealed to a reviewer's key.
//
// The one invariant: what is kept in the clear of a content is nothing.
package kept

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"

	"github.com/sallyport-mesh/sallyport/gateway/policy/address"
	"github.com/sallyport-mesh/sallyport/gateway/policy/nearest"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// How content is kept, as a policy writes it.
const (
	Hash   = "hash"
	Sealed = "sealed"
)

// MaxDays is for how long content, or the salt of its hash, is kept at most.
const MaxDays = 3650

// Content is what is kept of the content of what an intent allows.
type Content struct {
	Intent   string
	How      string // Hash or Sealed
	Reviewer string // to whom it is sealed; "" of a hash
	Key      string // the reviewer's age recipient
	Days     int    // of retention, from 1
}

// Of is what the intents of a valid policy keep, by their names.
func Of(p *policyv1.Policy) map[string]Content {
	var all map[string]Content
	for _, in := range p.GetIntents() {
		c := in.GetContent()
		if c == nil {
			continue
		}
		if all == nil {
			all = map[string]Content{}
		}
		days, _ := parseDays(c.GetRetention()) // it is valid
		all[in.GetName()] = Content{
			Intent: in.GetName(), How: c.GetKept(), Reviewer: c.GetReviewer(),
			Key: p.GetReviewers()[c.GetReviewer()].GetKey(), Days: days,
		}
	}
	return all
}

// Faults are what is wrong with what a policy says of reviewers and of what is kept:
// where, and what, for people.
func Faults(p *policyv1.Policy) iter.Seq2[string, string] {
	return func(yield func(path, message string) bool) {
		f := &faults{yield: yield}
		for name, r := range p.GetReviewers() {
			if f.over {
				return
			}
			f.reviewer("reviewers."+name, name, r, p.GetTeams())
		}
		for i, in := range p.GetIntents() {
			if f.over {
				return
			}
			if in.GetContent() != nil {
				f.content(fmt.Sprintf("intents[%d].content", i), in, p.GetReviewers())
			}
		}
	}
}

// faults says faults until nobody listens any more.
type faults struct {
	yield func(path, message string) bool
	over  bool
}

func (f *faults) say(path, format string, args ...any) {
	f.over = f.over || !f.yield(path, fmt.Sprintf(format, args...)) // a yield that said no is never asked again
}

func (f *faults) reviewer(path, name string, r *policyv1.Reviewer, teams map[string]*policyv1.Team) {
	if !address.IsLabel(name) {
		f.say(path, "reviewer %q: a name is a DNS label: lower-case letters, digits and hyphens, at most 63", name)
	}
	if err := CheckKey(r.GetKey()); err != nil {
		f.say(path+".key", "reviewer %s: %v", name, err)
	}
	if r.GetOwner() == "" {
		f.say(path+".owner", "reviewer %s: no owner. Name the team that answers for who opens what is kept.", name)
	} else if teams[r.GetOwner()] == nil {
		f.say(path+".owner", "reviewer %s: unknown team %q%s", name, r.GetOwner(), nearest.Hint(r.GetOwner(), slices.Sorted(maps.Keys(teams))))
	}
}

// CheckKey accepts an age recipient of X25519 to which something can be sealed.
func CheckKey(key string) error {
	r, err := age.ParseX25519Recipient(key)
	if err == nil {
		// A point of low order is well formed, and nothing can be sealed to it.
		_, err = r.Wrap(make([]byte, 16))
	}
	if err != nil {
		return fmt.Errorf("key %q is not an age recipient of X25519, such as age-keygen -y prints (age1...)", key)
	}
	return nil
}

func (f *faults) content(path string, in *policyv1.Intent, reviewers map[string]*policyv1.Reviewer) {
	c, subject := in.GetContent(), "intent "+in.GetName()
	if in.GetDeny() != nil {
		f.say(path, "%s: content stands only with an allow: of what is denied nothing passes", subject)
	}
	switch c.GetKept() {
	case Hash:
		if c.GetReviewer() != "" {
			f.say(path+".reviewer", "%s: a hash is sealed to nobody. Leave the reviewer out, or keep it sealed.", subject)
		}
	case Sealed:
		if c.GetReviewer() == "" {
			f.say(path+".reviewer", "%s: no reviewer. Name to whose key it is sealed.", subject)
		} else if reviewers[c.GetReviewer()] == nil {
			f.say(path+".reviewer", "%s: unknown reviewer %q%s", subject, c.GetReviewer(), nearest.Hint(c.GetReviewer(), slices.Sorted(maps.Keys(reviewers))))
		}
	default:
		f.say(path+".kept", "%s: kept is %s or %s, not %q", subject, Hash, Sealed, c.GetKept())
	}
	if _, ok := parseDays(c.GetRetention()); !ok {
		f.say(path+".retention", "%s: retention %q is not 1d to %dd. Say for how many days it is kept.", subject, c.GetRetention(), MaxDays)
	}
}

// parseDays reads Nd.
func parseDays(text string) (int, bool) {
	number, ok := strings.CutSuffix(text, "d")
	n, err := strconv.Atoi(number)
	return n, ok && err == nil && n >= 1 && n <= MaxDays && strconv.Itoa(n) == number
}
