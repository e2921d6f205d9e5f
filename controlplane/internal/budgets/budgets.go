// Package budgets remembers what gateways tell of their callers' budgets, and passes it on to
// the others of their environment. It is in memory alone: after a restart the gateways
// see by its new name that it has to be told again.
//
// The one invariant: what a gateway tells changes nothing of another's, and goes to no
// other environment.
package budgets

import (
	"container/list"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/limits"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
)

const (
	// maxUses bounds what one gateway has told, and maxRequest what it tells at a time.
	maxUses    = 1 << 16
	maxRequest = 4096
	// maxResponse bounds what is said at a time, in bytes, far below what gRPC takes.
	maxResponse = 1 << 20
	// useBytes is what a use has beside its texts.
	useBytes = 64
	// maxText bounds each text, in bytes; SPIFFE IDs have at most as many.
	maxText = 2048
	// maxUsed bounds what can have been used of anything.
	maxUsed = 1 << 61
	// warm is how long every gateway has to tell again what a process before this one was
	// told: they try each second.
	warm = 5 * time.Second
	// late is how long a window is remembered after its end: clocks differ.
	late = time.Minute
)

// ErrInvalid says that a request is not as it must be, in words for its gateway.
var ErrInvalid = errors.New("invalid")

// ErrStale says that a gateway has told something later meanwhile.
var ErrStale = errors.New("a later request of this run has come already")

// Book is what is remembered. Make it with New. It may be used concurrently.
type Book struct {
	memory string    // its name
	warmAt time.Time // when every gateway has had the time to tell

	mu           sync.Mutex // guards what follows
	environments map[string]*environment
	swept        time.Time
}

// environment is what its gateways have told.
type environment struct {
	version  uint64 // rises with each use that is told
	gateways map[string]*gateway
	told     list.List // of *told, by version
}

// gateway is what one has told.
type gateway struct {
	run      string
	sequence uint64
	complete bool // it has told this memory all that it has
	uses     map[key]*list.Element
}

// key is what is counted: of its windows the latest is remembered.
type key struct {
	caller, intent, what string
	window               uint32
}

// told is what a gateway has told of a key.
type told struct {
	key
	by          *gateway
	name, run   string // of the gateway
	start, used int64
	version     uint64
}

// New makes an empty book.
func New(now time.Time) *Book {
	return &Book{memory: rand.Text(), warmAt: now.Add(warm), environments: map[string]*environment{}, swept: now}
}

// Share takes in what a gateway tells, and is what it is to hear. Members are the names of
// all gateways of its environment. Its errors are ErrInvalid and ErrStale.
func (b *Book) Share(self policy.Gateway, members []string, req *controlv1.ShareBudgetsRequest, now time.Time) (*controlv1.ShareBudgetsResponse, error) {
	if err := check(req, now); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now)
	env := b.environments[self.Environment]
	if env == nil {
		env = &environment{gateways: map[string]*gateway{}}
		b.environments[self.Environment] = env
	}
	g, err := env.gateway(self.Name, req)
	if err != nil {
		return nil, err
	}
	for _, u := range req.GetUses() {
		if err := env.take(g, self.Name, u); err != nil {
			return nil, err
		}
	}
	since := req.GetSince()
	if known := req.GetMemory() == b.memory; !known {
		since = 0
	} else if req.GetComplete() {
		g.complete = true
	}
	resp := env.answer(self.Name, g.run, since, now)
	resp.Memory = b.memory
	resp.Whole = resp.GetVersion() == env.version && (!now.Before(b.warmAt) || env.complete(self.Name, members))
	return resp, nil
}

// gateway is the one that asks. A run that was not heard yet begins from nothing, but
// what earlier ones have told stays until it is told again.
func (e *environment) gateway(name string, req *controlv1.ShareBudgetsRequest) (*gateway, error) {
	g := e.gateways[name]
	if g == nil {
		g = &gateway{uses: map[key]*list.Element{}}
		e.gateways[name] = g
	}
	if g.run != req.GetRun() {
		g.run, g.sequence, g.complete = req.GetRun(), 0, false
	}
	if req.GetSequence() <= g.sequence {
		return nil, ErrStale
	}
	g.sequence = req.GetSequence()
	return g, nil
}

// take remembers a use, if its window is not over already.
func (e *environment) take(g *gateway, name string, u *controlv1.BudgetUse) error {
	k := key{u.GetCaller(), u.GetIntent(), u.GetWhat(), u.GetWindow()}
	at := g.uses[k]
	if at == nil {
		if len(g.uses) >= maxUses {
			return fmt.Errorf("%w: a gateway can tell of %d budgets", ErrInvalid, maxUses)
		}
		at = e.told.PushBack(&told{key: k, by: g, name: name})
		g.uses[k] = at
	}
	is, _ := at.Value.(*told)
	if u.GetStart() < is.start {
		return nil
	}
	e.version++
	is.start, is.used, is.run, is.version = u.GetStart(), u.GetUsed(), g.run, e.version
	e.told.MoveToBack(at)
	return nil
}

// complete says whether all others have told all that they have.
func (e *environment) complete(self string, members []string) bool {
	for _, name := range members {
		if g := e.gateways[name]; name != self && (g == nil || !g.complete) {
			return false
		}
	}
	return true
}

// answer is what there is after a version, or the first of it.
func (e *environment) answer(self, run string, since uint64, now time.Time) *controlv1.ShareBudgetsResponse {
	at := e.told.Back()
	for at != nil && versionOf(at) > since {
		at = at.Prev()
	}
	if at == nil {
		at = e.told.Front()
	} else {
		at = at.Next()
	}
	resp := &controlv1.ShareBudgetsResponse{}
	for size := 0; at != nil; at = at.Next() {
		t, _ := at.Value.(*told)
		if size += t.size(); size > maxResponse {
			return resp
		}
		resp.Version = t.version
		if (t.name != self || t.run != run) && !t.over(now) {
			resp.Uses = append(resp.Uses, t.use())
		}
	}
	resp.Version = e.version
	return resp
}

func versionOf(at *list.Element) uint64 {
	t, _ := at.Value.(*told)
	return t.version
}

func (t *told) size() int { return len(t.caller) + len(t.intent) + len(t.name) + useBytes }

func (t *told) over(now time.Time) bool {
	return t.start+int64(t.window)+int64(late/time.Second) <= now.Unix()
}

func (t *told) use() *controlv1.BudgetUse {
	return &controlv1.BudgetUse{
		Caller: t.caller, Intent: t.intent, What: t.what, Window: t.window, Start: t.start, Used: t.used, Gateway: t.name,
	}
}

// sweep forgets windows that are over, now and then.
func (b *Book) sweep(now time.Time) {
	if now.Sub(b.swept) < late {
		return
	}
	b.swept = now
	for _, env := range b.environments {
		for at := env.told.Front(); at != nil; {
			next := at.Next()
			if t, _ := at.Value.(*told); t.over(now) {
				env.told.Remove(at)
				delete(t.by.uses, t.key)
			}
			at = next
		}
	}
}

// check bounds what one gateway can make the control plane remember.
func check(req *controlv1.ShareBudgetsRequest, now time.Time) error {
	if n := len(req.GetUses()); n > maxRequest {
		return fmt.Errorf("%w: %d budgets in one request, the most is %d", ErrInvalid, n, maxRequest)
	}
	if req.GetRun() == "" || len(req.GetRun()) > maxText {
		return fmt.Errorf("%w: the run has %d bytes, want 1 to %d", ErrInvalid, len(req.GetRun()), maxText)
	}
	for i, u := range req.GetUses() {
		if why := wrong(u, now); why != "" {
			return fmt.Errorf("%w: budget %d: %s", ErrInvalid, i, why)
		}
	}
	return nil
}

// wrong says what is wrong with a use; "" if nothing.
func wrong(u *controlv1.BudgetUse, now time.Time) string {
	window := int64(u.GetWindow())
	if len(u.GetCaller()) > maxText || len(u.GetIntent()) > maxText {
		return fmt.Sprintf("a text is longer than %d bytes", maxText)
	}
	if _, err := spiffeid.FromString(u.GetCaller()); err != nil {
		return "its caller is no SPIFFE ID"
	}
	if _, ok := limits.ParseWhat(u.GetWhat()); !ok || u.GetIntent() == "" || u.GetGateway() != "" {
		return "it says not what is counted, or who counts"
	}
	if window != 60 && window != 3600 && window != 86400 {
		return fmt.Sprintf("a window of %d seconds", window)
	}
	if start := u.GetStart(); start < 0 || start%window != 0 || start > now.Unix()+window {
		return fmt.Sprintf("no window begins at %d", start)
	}
	if u.GetUsed() < 0 || u.GetUsed() > maxUsed {
		return fmt.Sprintf("%d cannot have been used", u.GetUsed())
	}
	return ""
}
