package inventory

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/durationpb"

	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// memory is a store that forgets when the test ends. fail makes every write
// fail; another, if set, is called once before the next write.
type memory struct {
	mu       sync.Mutex // guards what follows
	values   map[string]stored
	revision uint64
	fail     error
	another  func(m *memory)
}

type stored struct {
	value    []byte
	revision uint64
}

var (
	errConflict = errors.New("changed meanwhile")
	errMissing  = errors.New("not found")
	_           = keyValue((*memory)(nil))
)

func (m *memory) Put(_ context.Context, key string, value []byte, expected uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.another; other != nil {
		m.another = nil
		other(m)
	}
	if m.fail != nil {
		return 0, m.fail
	}
	if m.values[key].revision != expected {
		return 0, errConflict
	}
	m.set(key, value)
	return m.revision, nil
}

func (m *memory) set(key string, value []byte) {
	m.revision++
	m.values[key] = stored{value, m.revision}
}

func (m *memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.values[key]
	if !ok {
		return nil, 0, errMissing
	}
	return s.value, s.revision, nil
}

func (m *memory) List(_ context.Context, each func(string, []byte, uint64) error) error {
	m.mu.Lock()
	all := maps.Clone(m.values)
	m.mu.Unlock()
	for key, s := range all {
		if err := each(key, s.value, s.revision); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Delete(_ context.Context, key string, expected uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if m.values[key].revision != expected {
		return errConflict
	}
	m.revision++
	delete(m.values, key)
	return nil
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.values)
}

var (
	llm      = spiffeid.RequireFromString("spiffe://azure.test/ai/llm")
	gatewayA = spiffeid.RequireFromString("spiffe://azure.test/sallyport/gateway/azure-1")
	gatewayW = spiffeid.RequireFromString("spiffe://aws.test/sallyport/gateway/aws-1")
	operator = spiffeid.RequireFromString("spiffe://mesh.test/operator/o-1")
	worker   = spiffeid.RequireFromString("spiffe://aws.test/batch/7/worker")
)

func testPolicy() *policyv1.Policy {
	return &policyv1.Policy{
		Environments: map[string]*policyv1.Environment{
			"azure": {TrustDomain: "azure.test", Networks: []string{"10.2.0.0/16", "fd00::/64"}, Gateways: map[string]*policyv1.Gateway{"azure-1": {}}},
			"aws":   {TrustDomain: "aws.test", Networks: []string{"10.1.0.0/16", "127.1.0.0/16"}, Gateways: map[string]*policyv1.Gateway{"aws-1": {}}},
		},
		Workloads: map[string]*policyv1.Workload{
			"llm": {
				Id: llm.String(), Addresses: []string{"10.2.3.9", "fd00::9", "10.2.4.0/24"}, Labels: map[string]string{"tier": "gpu"},
				Serves: map[string]string{"chat": "openai://:8000", "health": "grpc://:9000"},
			},
			"registry": {Id: "spiffe://aws.test/ml/registry", Serves: map[string]string{"models": "oci://registry.aws.example:5000/v2"}},
			"worker":   {Id: "spiffe://aws.test/batch/*/worker"},
			"nowhere":  {Id: "spiffe://aws.test/nowhere", Serves: map[string]string{"api": "http://:80"}},
		},
	}
}

func newInventory(t *testing.T, m *memory) *Inventory {
	t.Helper()
	i, err := New(t.Context(), Config{Store: m, Operator: func(id spiffeid.ID) bool { return id == operator }})
	if err != nil {
		t.Fatalf("New error: %v", err)
	}
	i.SetPolicy(testPolicy())
	return i
}

func newMemory() *memory { return &memory{values: map[string]stored{}} }

func register(t *testing.T, i *Inventory, caller spiffeid.ID, req *controlv1.RegisterRequest) *controlv1.Binding {
	t.Helper()
	b, err := i.Register(t.Context(), caller, req)
	if err != nil {
		t.Fatalf("Register(%v) error: %v", req, err)
	}
	return b
}

func chatAt(at string, lease time.Duration) *controlv1.RegisterRequest {
	return &controlv1.RegisterRequest{
		Workload: "llm", Endpoints: map[string]string{"chat": at}, Lease: durationpb.New(lease),
	}
}

var (
	chatOfPolicy   = Endpoint{"llm", "chat", []string{"10.2.3.9:8000", "[fd00::9]:8000"}}
	healthOfPolicy = Endpoint{"llm", "health", []string{"10.2.3.9:9000", "[fd00::9]:9000"}}
)

func wantEndpoints(t *testing.T, i *Inventory, env string, want ...Endpoint) {
	t.Helper()
	if diff := cmp.Diff(want, i.Endpoints(env)); diff != "" && len(want)+len(i.Endpoints(env)) > 0 {
		t.Errorf("Endpoints(%s) (-want +got):\n%s", env, diff)
	}
}

func sources(i *Inventory) []string {
	var all []string
	for _, b := range i.Bindings() {
		all = append(all, b.GetWorkload()+" "+b.GetSource())
	}
	return all
}

func TestThePolicySaysWhereWorkloadsAre(t *testing.T) {
	i := newInventory(t, newMemory())
	wantEndpoints(t, i, "azure", chatOfPolicy, healthOfPolicy)
	wantEndpoints(t, i, "aws", Endpoint{"registry", "models", []string{"registry.aws.example:5000"}})
	wantEndpoints(t, i, "mars")
	if diff := cmp.Diff([]string{"llm policy", "registry policy"}, sources(i)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"aws", "azure"}, i.Environments()); diff != "" {
		t.Errorf("environments (-want +got):\n%s", diff)
	}
	b := i.Bindings()[0]
	if b.GetEnvironment() != "azure" || b.GetId() != llm.String() || b.GetEndpoints()["chat"] != "10.2.3.9:8000" || b.GetLabels()["tier"] != "gpu" {
		t.Errorf("binding of llm: %v", b)
	}
}

func TestWithoutAPolicyThereIsNothing(t *testing.T) {
	i, err := New(t.Context(), Config{Store: newMemory()})
	if err != nil {
		t.Fatalf("New error: %v", err)
	}
	if n := len(i.Bindings()) + len(i.Endpoints("azure")) + len(i.Environments()); n != 0 {
		t.Errorf("%d bindings, endpoints and environments, want none", n)
	}
	if _, err := i.Register(t.Context(), llm, chatAt("10.2.3.10:8000", 0)); !errors.Is(err, ErrUnknownWorkload) {
		t.Errorf("Register error: %v, want %v", err, ErrUnknownWorkload)
	}
}

func TestARegisteredBindingWinsWhileItsLeaseLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		i := newInventory(t, m)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- i.Run(ctx) }()

		begin := time.Now()
		b := register(t, i, llm, chatAt("10.2.3.10:8001", time.Minute))
		if got := b.GetExpires().AsTime(); !got.Equal(begin.Add(time.Minute)) || b.GetSource() != llm.String() || b.GetEnvironment() != "azure" {
			t.Errorf("binding %v", b)
		}
		wantEndpoints(t, i, "azure", Endpoint{"llm", "chat", []string{"10.2.3.10:8001"}}, healthOfPolicy)
		<-time.After(50 * time.Second)
		register(t, i, llm, chatAt("10.2.3.11:8001", time.Minute)) // renewed, elsewhere
		<-time.After(50 * time.Second)
		wantEndpoints(t, i, "azure", Endpoint{"llm", "chat", []string{"10.2.3.11:8001"}}, healthOfPolicy)

		synctest.Wait()
		changed := i.Changed()
		<-changed
		if got := time.Since(begin); got != 110*time.Second {
			t.Errorf("lease ended after %v, want %v", got, 110*time.Second)
		}
		wantEndpoints(t, i, "azure", chatOfPolicy, healthOfPolicy)
		synctest.Wait()
		if m.len() != 0 {
			t.Errorf("%d ended leases stay in the store", m.len())
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run error: %v", err)
		}
	})
}

func TestExpiryNeedsNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInventory(t, newMemory()) // and nobody runs it
		register(t, i, llm, chatAt("10.2.3.10:8001", time.Minute))
		<-time.After(time.Minute)
		wantEndpoints(t, i, "azure", chatOfPolicy, healthOfPolicy)
		if diff := cmp.Diff([]string{"llm policy", "registry policy"}, sources(i)); diff != "" {
			t.Errorf("bindings (-want +got):\n%s", diff)
		}
	})
}

func TestSeveralSourcesHoldTogether(t *testing.T) {
	i := newInventory(t, newMemory())
	register(t, i, llm, chatAt("10.2.3.11:8000", 0))
	register(t, i, operator, chatAt("10.2.3.10:8000", 0))
	register(t, i, gatewayA, &controlv1.RegisterRequest{Workload: "llm", Addresses: []string{"10.2.3.12"}})
	wantEndpoints(t, i, "azure",
		Endpoint{"llm", "chat", []string{"10.2.3.10:8000", "10.2.3.11:8000", "10.2.3.12:8000"}},
		Endpoint{"llm", "health", []string{"10.2.3.12:9000"}})
	want := []string{"llm policy", "llm " + llm.String(), "llm " + gatewayA.String(), "llm " + operator.String(), "registry policy"}
	if diff := cmp.Diff(want, sources(i)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
}

func TestWhoMayRegister(t *testing.T) {
	tests := []struct {
		name     string
		caller   spiffeid.ID
		workload string
		want     error
	}{
		{"the workload itself", llm, "llm", nil},
		{"its environment's gateway", gatewayA, "llm", nil},
		{"an operator", operator, "llm", nil},
		{"an ID that matches the workload's pattern", worker, "worker", nil},
		{"another environment's gateway", gatewayW, "llm", ErrNotAllowed},
		{"another workload", worker, "llm", ErrNotAllowed},
		{"an ID with more segments than the pattern", spiffeid.RequireFromString("spiffe://aws.test/batch/7/8/worker"), "worker", ErrNotAllowed},
		{"the pattern's path in another trust domain", spiffeid.RequireFromString("spiffe://azure.test/batch/7/worker"), "worker", ErrNotAllowed},
		{"nobody", spiffeid.ID{}, "llm", ErrNotAllowed},
		{"an operator, of no workload", operator, "llama", ErrUnknownWorkload},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := newInventory(t, newMemory())
			_, err := i.Register(t.Context(), tt.caller, &controlv1.RegisterRequest{Workload: tt.workload})
			if !errors.Is(err, tt.want) {
				t.Errorf("Register error: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestRegistrationsThatAreNone(t *testing.T) {
	many := map[string]string{}
	for n := range maxItems + 1 {
		many[strings.Repeat("x", n+1)] = ""
	}
	tests := []struct {
		name string
		req  *controlv1.RegisterRequest
	}{
		{"service that it does not serve", &controlv1.RegisterRequest{Endpoints: map[string]string{"mcp": "10.2.3.9:80"}}},
		{"name instead of an address", chatAt("llm.internal:8000", 0)},
		{"no port", chatAt("10.2.3.9", 0)},
		{"port 0", chatAt("10.2.3.9:0", 0)},
		{"port name", chatAt("10.2.3.9:http", 0)},
		{"no host", chatAt(":8000", 0)},
		{"every address", chatAt("0.0.0.0:8000", 0)},
		{"broadcast", chatAt("255.255.255.255:8000", 0)},
		{"multicast", chatAt("[ff02::1]:8000", 0)},
		{"metadata service", chatAt("169.254.169.254:80", 0)},
		{"metadata service, mapped", chatAt("[::ffff:169.254.169.254]:80", 0)},
		{"address of nobody", chatAt("10.9.3.9:8000", 0)},
		{"address of another environment", &controlv1.RegisterRequest{Addresses: []string{"10.1.3.9"}}},
		{"address of another environment, mapped", chatAt("[::ffff:10.1.3.9]:8000", 0)},
		{"loopback of another environment", chatAt("127.1.3.9:8000", 0)},
		{"zone", chatAt("[fe80::1%eth0]:8000", 0)},
		{"empty endpoint", chatAt("", 0)},
		{"lease in the past", chatAt("10.2.3.9:8000", -time.Second)},
		{"lease out of range", &controlv1.RegisterRequest{Lease: &durationpb.Duration{Seconds: 1 << 62}}},
		{"prefix as an address", &controlv1.RegisterRequest{Addresses: []string{"10.2.0.0/16"}}},
		{"many labels", &controlv1.RegisterRequest{Labels: many}},
		{"long label", &controlv1.RegisterRequest{Labels: map[string]string{"a": strings.Repeat("b", maxText+1)}}},
		{"long cgroup", &controlv1.RegisterRequest{Cgroup: strings.Repeat("b", maxText+1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			i := newInventory(t, m)
			tt.req.Workload = "llm"
			if _, err := i.Register(t.Context(), llm, tt.req); !errors.Is(err, ErrInvalid) {
				t.Errorf("Register error: %v, want %v", err, ErrInvalid)
			}
			if m.len() != 0 {
				t.Error("it was kept all the same")
			}
		})
	}
}

func TestBindingsSurviveARestart(t *testing.T) {
	m := newMemory()
	first := newInventory(t, m)
	register(t, first, llm, chatAt("10.2.3.10:8000", time.Hour))
	m.set("llm spiffe://azure.test/broken", []byte("\xff"))
	m.set("other "+llm.String(), m.values["llm "+llm.String()].value) // under another key than its own
	second := newInventory(t, m)
	wantEndpoints(t, second, "azure", Endpoint{"llm", "chat", []string{"10.2.3.10:8000"}}, healthOfPolicy)
	if diff := cmp.Diff([]string{"llm policy", "llm " + llm.String(), "registry policy"}, sources(second)); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	register(t, second, llm, chatAt("10.2.3.11:8000", 0))
	wantEndpoints(t, newInventory(t, m), "azure", Endpoint{"llm", "chat", []string{"10.2.3.11:8000"}}, healthOfPolicy)
}

func TestRegisterIsDurableOrFails(t *testing.T) {
	m := newMemory()
	i := newInventory(t, m)
	m.fail = errors.New("disk full")
	if _, err := i.Register(t.Context(), llm, chatAt("10.2.3.10:8000", 0)); !errors.Is(err, m.fail) {
		t.Errorf("Register error: %v, want %v", err, m.fail)
	}
	wantEndpoints(t, i, "azure", chatOfPolicy, healthOfPolicy)
}

func TestRegisterOverAnotherWriter(t *testing.T) {
	m := newMemory()
	i := newInventory(t, m)
	m.another = func(m *memory) { m.set("llm "+llm.String(), []byte("another replica's")) }
	register(t, i, llm, chatAt("10.2.3.10:8000", 0))
	wantEndpoints(t, newInventory(t, m), "azure", Endpoint{"llm", "chat", []string{"10.2.3.10:8000"}}, healthOfPolicy)
	m.another = func(m *memory) { delete(m.values, "llm "+llm.String()) }
	register(t, i, llm, chatAt("10.2.3.11:8000", 0))
	wantEndpoints(t, newInventory(t, m), "azure", Endpoint{"llm", "chat", []string{"10.2.3.11:8000"}}, healthOfPolicy)
}

func TestBindingsFollowThePolicy(t *testing.T) {
	tests := []struct {
		name   string
		change func(p *policyv1.Policy)
		want   []Endpoint
	}{
		{"unchanged", func(*policyv1.Policy) {}, []Endpoint{{"llm", "chat", []string{"10.2.3.10:8000"}}, healthOfPolicy}},
		{"workload gone", func(p *policyv1.Policy) { delete(p.Workloads, "llm") }, nil},
		{"workload with another ID", func(p *policyv1.Policy) { p.Workloads["llm"].Id = "spiffe://azure.test/ai/llm2" }, []Endpoint{chatOfPolicy, healthOfPolicy}},
		{"service gone", func(p *policyv1.Policy) { delete(p.Workloads["llm"].Serves, "chat") }, []Endpoint{healthOfPolicy}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := newInventory(t, newMemory())
			register(t, i, llm, chatAt("10.2.3.10:8000", 0))
			changed := i.Changed()
			p := testPolicy()
			tt.change(p)
			i.SetPolicy(p)
			select {
			case <-changed:
			default:
				t.Error("nobody was told")
			}
			wantEndpoints(t, i, "azure", tt.want...)
		})
	}
}

func TestNewNeedsAStore(t *testing.T) {
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("New without a store: no error")
	}
}

// Everybody takes back what is theirs; an operator anybody's.
func TestWithdraw(t *testing.T) {
	m := newMemory()
	i := newInventory(t, m)
	register(t, i, llm, chatAt("10.2.3.11:8000", 0))
	register(t, i, operator, chatAt("10.2.3.10:8000", 0))
	withdraw := func(caller spiffeid.ID, source string) error {
		_, err := i.Withdraw(t.Context(), caller, &controlv1.WithdrawRequest{Workload: "llm", Source: source})
		return err
	}
	if err := withdraw(llm, operator.String()); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("Withdraw of another's = %v, want %v", err, ErrNotAllowed)
	}
	if err := withdraw(gatewayA, ""); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("Withdraw of nothing = %v, want %v", err, ErrNotRegistered)
	}
	changed := i.Changed()
	if err := withdraw(operator, ""); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told")
	}
	wantEndpoints(t, i, "azure", Endpoint{"llm", "chat", []string{"10.2.3.11:8000"}}, healthOfPolicy)
	if err := withdraw(operator, llm.String()); err != nil {
		t.Fatal(err)
	}
	wantEndpoints(t, i, "azure", chatOfPolicy, healthOfPolicy)
	if m.len() != 0 {
		t.Errorf("%d registrations stay in the store", m.len())
	}
}
