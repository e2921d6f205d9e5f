package xdsclient

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	"github.com/sallyport-mesh/sallyport/gateway/policy/signed"
	policyv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/policy/v1"
)

// inBubble runs a test with a control plane, a client and its stream.
func inBubble(t *testing.T, test func(t *testing.T, c *Client, s *serverStream)) {
	synctest.Test(t, func(t *testing.T) {
		cp := newControlPlane(t)
		c, _ := cp.client(t.TempDir())
		test(t, c, <-cp.streams)
	})
}

func wantCurrent(t *testing.T, c *Client, sp *policyv1.SignedPolicy) {
	t.Helper()
	synctest.Wait()
	want := policy.Ref{}
	if sp != nil {
		want = refOf(sp)
	}
	if got := ref(c.Policies().Current); got != want {
		t.Errorf("in force: %+v, want %+v", got, want)
	}
}

func TestAsksForEverything(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		for typ, want := range map[string]string{typePolicy: "*", typeState: "policy", typeEndpoints: "*", typeActs: "acts"} {
			req := s.first[typ]
			if !slices.Equal(req.GetResourceNamesSubscribe(), []string{want}) || req.GetNode().GetId() != "spiffe://aws.test/sallyport/gateway/aws-1" {
				t.Errorf("first request: %v", req)
			}
		}
		wantCurrent(t, c, nil)
	})
}

func TestHeard(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		synctest.Wait()
		select {
		case <-c.Heard():
			t.Error("heard before the first answer")
		default:
		}
		s.accepted(endpoints()) // it says nothing
		<-c.Heard()
		s.accepted(policies())
	})
}

func TestPolicyAndStateArriveInAnyOrder(t *testing.T) {
	one, two := signedPolicy(t, "a", 1), signedPolicy(t, "b", 2)
	orders := map[string]func(s *serverStream){
		"policy first": func(s *serverStream) {
			s.accepted(policies(two))
			s.accepted(state(revision(two)))
		},
		"state first": func(s *serverStream) {
			named := s.send(state(revision(two)))
			synctest.Wait()
			if !s.silent() {
				s.t.Error("a state was answered before the policy that it names is here")
			}
			begin := time.Now()
			if err := s.answer(s.send(policies(two))); err != nil {
				s.t.Errorf("NACK of the policy: %v", err)
			}
			if err := s.answer(named); err != nil || time.Since(begin) != 0 {
				s.t.Errorf("answer to the state: %v, %v after its policy", err, time.Since(begin))
			}
		},
		"both policies, then state": func(s *serverStream) {
			s.accepted(policies(two, one))
			s.accepted(state(revision(two)))
		},
		"policy, its removal, policy again": func(s *serverStream) {
			s.accepted(policies(two))
			s.accepted(&discovery.DeltaDiscoveryResponse{TypeUrl: typePolicy, RemovedResources: []string{revision(two)}})
			named := s.send(state(revision(two)))
			if err := s.answer(s.send(policies(two))); err != nil {
				s.t.Errorf("NACK of the policy: %v", err)
			}
			if err := s.answer(named); err != nil {
				s.t.Errorf("NACK of the state: %v", err)
			}
		},
		"state late": func(s *serverStream) {
			named := s.send(state(revision(two)))
			if err := s.answer(named); err == nil || !strings.Contains(err.Error(), revision(two)) {
				s.t.Errorf("state with no policy for 2 s: answer %v, want a NACK that names the revision", err)
			}
			if err := s.answer(s.send(policies(two))); err != nil {
				s.t.Errorf("NACK of the policy: %v", err)
			}
			if err := s.answer(named); err != nil {
				s.t.Errorf("NACK of the state after its policy came: %v", err)
			}
		},
	}
	for name, order := range orders {
		for _, before := range []*policyv1.SignedPolicy{nil, one} {
			t.Run(fmt.Sprintf("%s, after %d", name, serialOf(before)), func(t *testing.T) {
				inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
					if before != nil {
						s.accepted(policies(before))
						s.accepted(state(revision(before)))
					}
					order(s)
					wantCurrent(t, c, two)
					if got := ref(c.Policies().Previous).Serial; got != serialOf(before) {
						t.Errorf("previous: serial %d, want %d", got, serialOf(before))
					}
					if !s.silent() {
						t.Error("one answer too many")
					}
				})
			})
		}
	}
}

func serialOf(sp *policyv1.SignedPolicy) uint64 {
	if sp == nil {
		return 0
	}
	return refOf(sp).Serial
}

func TestStateIsRefusedAfterTwoSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		begin := time.Now()
		if err := s.answer(s.send(state("sha256:beef"))); err == nil || !strings.Contains(err.Error(), "sha256:beef") {
			t.Errorf("answer: %v", err)
		}
		if got := time.Since(begin); got != stateWait {
			t.Errorf("answered after %v, want %v", got, stateWait)
		}
		wantCurrent(t, c, nil)
	})
}

func TestPoliciesThatAreRefused(t *testing.T) {
	inForce := signedPolicy(t, "b", 5)
	altered := func(sp *policyv1.SignedPolicy, change func(*policyv1.SignedPolicy)) *policyv1.SignedPolicy {
		sp = proto.CloneOf(sp)
		change(sp)
		return sp
	}
	next := signedPolicy(t, "c", 6)
	tests := []struct {
		name string
		bad  *discovery.Resource
		want string
	}{
		{"signed by somebody", resource("", signedBy(t, "mallory", policyOf("test", "c"), 6)), "not signed"},
		{"somebody under the operator's name", resource("", altered(next, func(sp *policyv1.SignedPolicy) {
			sp.Signatures = []*policyv1.Signature{{Key: "operator", Ed25519: signed.NewSigner("operator", key("mallory")).Sign(sp.Manifest)}}
		})), "not signed"},
		{"not signed", resource("", altered(next, func(sp *policyv1.SignedPolicy) { sp.Signatures = nil })), "not signed"},
		{"lower serial", resource("", signedPolicy(t, "c", 4)), "serial 4 is lower than 5"},
		{"same serial, other content", resource("", signedPolicy(t, "c", 5)), "serial 5 was in force here"},
		{"another policy", resource("", signedBy(t, "operator", policyOf("other", "c"), 6)), `of policy "other"; this gateway enforces policy "test"`},
		{"under another name", resource("sha256:00", next), "its revision is sha256:"},
		{"other content than signed", resource(revision(next), altered(next, func(sp *policyv1.SignedPolicy) { sp.Policy = inForce.Policy })), "not the one that the manifest names"},
		{"other type", &discovery.Resource{Name: "x", Resource: state("x").Resources[0].Resource}, "it is of type"},
		{"nothing", &discovery.Resource{Name: "x"}, "it is empty"},
		{"not readable", &discovery.Resource{Name: "x", Resource: &anypb.Any{TypeUrl: typePolicy, Value: []byte("\xff\xff")}}, "not readable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
				s.accepted(policies(inForce))
				s.accepted(state(revision(inForce)))
				bad := proto.CloneOf(tt.bad)
				if bad.GetName() == "" {
					sp := &policyv1.SignedPolicy{}
					if err := bad.GetResource().UnmarshalTo(sp); err != nil {
						t.Fatal(err)
					}
					bad.Name = revision(sp)
				}
				good := resource(revision(next), next)
				resp := &discovery.DeltaDiscoveryResponse{TypeUrl: typePolicy, Resources: []*discovery.Resource{bad}}
				if bad.GetName() != good.GetName() {
					resp.Resources = append(resp.Resources, good) // what is good beside it is kept
				}
				if err := s.answer(s.send(resp)); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("answer: %v, want a NACK with %q", err, tt.want)
				}
				if len(resp.Resources) == 2 && ref(c.Policies().Prepared) != refOf(next) {
					t.Error("the good policy beside it was not prepared")
				}
				if err := s.answer(s.send(state(bad.GetName()))); err == nil || !strings.Contains(err.Error(), "was refused") {
					t.Errorf("answer to a state that names it: %v, want a NACK", err)
				}
				wantCurrent(t, c, inForce)
			})
		})
	}
}

func TestRemovalTakesNothingOutOfForce(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		one, two := signedPolicy(t, "a", 1), signedPolicy(t, "b", 2)
		s.accepted(policies(one, two))
		s.accepted(state(revision(one)))
		if got := ref(c.Policies().Prepared); got != refOf(two) {
			t.Errorf("prepared: %+v, want %+v", got, refOf(two))
		}
		s.accepted(&discovery.DeltaDiscoveryResponse{TypeUrl: typePolicy, RemovedResources: []string{revision(one), revision(two)}})
		s.accepted(&discovery.DeltaDiscoveryResponse{TypeUrl: typeState, RemovedResources: []string{stateName}})
		wantCurrent(t, c, one)
		if c.Policies().Prepared != nil {
			t.Error("a policy that is gone is still prepared")
		}
	})
}

func TestTheSameContentUnderAHigherSerial(t *testing.T) {
	a1, b2, a3 := signedPolicy(t, "a", 1), signedPolicy(t, "b", 2), signedPolicy(t, "a", 3)
	t.Run("policy first", func(t *testing.T) {
		inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
			for _, sp := range []*policyv1.SignedPolicy{a1, b2, a3} {
				s.accepted(policies(sp))
				s.accepted(state(revision(sp)))
				wantCurrent(t, c, sp)
			}
		})
	})
	t.Run("state first", func(t *testing.T) {
		inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
			s.accepted(policies(a1, b2))
			s.accepted(state(revision(a1)))
			s.accepted(state(revision(b2)))
			named := s.send(state(revision(a1)))
			synctest.Wait()
			if !s.silent() {
				t.Fatal("serial 1 was taken for serial 3")
			}
			wantCurrent(t, c, b2)
			s.accepted(policies(a3))
			if err := s.answer(named); err != nil {
				t.Errorf("NACK: %v", err)
			}
			wantCurrent(t, c, a3)
		})
	})
	t.Run("an old one never", func(t *testing.T) {
		inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
			s.accepted(policies(a1, b2))
			s.accepted(state(revision(b2)))
			if err := s.answer(s.send(state(revision(a1)))); err == nil || !strings.Contains(err.Error(), "serial 1 is lower than 2") {
				t.Errorf("answer: %v, want a NACK that names both serials", err)
			}
			wantCurrent(t, c, b2)
		})
	})
}

func TestKeysThatWereRotatedOutSignNothingMore(t *testing.T) {
	rotation, err := signed.SignKeys(keySet("second"), signed.NewSigner("operator", key("operator")))
	if err != nil {
		t.Fatal(err)
	}
	rotated := signedBy(t, "second", policyOf("test", "b"), 2)
	rotated.Rotations = []*policyv1.KeyRotation{rotation}
	later := signedBy(t, "second", policyOf("test", "d"), 4)
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		old := signedPolicy(t, "c", 3)
		s.accepted(policies(old, rotated)) // both are good until the new keys are in force
		s.accepted(state(revision(rotated)))
		wantCurrent(t, c, rotated)
		if err := s.answer(s.send(state(revision(old)))); err == nil {
			t.Error("a policy that the old keys had signed was put in force")
		}
		if err := s.answer(s.send(policies(signedPolicy(t, "e", 5)))); err == nil {
			t.Error("a policy of the old keys was accepted")
		}
		s.accepted(policies(later))
		s.accepted(state(revision(later)))
		wantCurrent(t, c, later)
	})
}

func TestGraceOfThePreviousPolicy(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		var all []*policyv1.SignedPolicy
		for n := range 4 {
			sp := signedPolicy(t, strings.Repeat("n", n+1), uint64(n+1))
			all = append(all, sp)
			s.accepted(policies(sp))
			if n < 3 { // the last stays prepared
				<-time.After(4 * time.Second)
				s.accepted(state(revision(sp)))
			}
		}
		synctest.Wait()
		// In force at seconds 4, 8 and 12: 1 was replaced at 8, 2 at 12.
		now, p := time.Now(), c.Policies()
		tests := []struct {
			serial uint64
			after  time.Duration
			want   bool
		}{
			{4, 0, true},
			{3, 0, true},
			{3, time.Hour, true},
			{2, 0, true},
			{2, Grace - time.Nanosecond, true},
			{2, Grace, false},
			{1, Grace - 4*time.Second - time.Nanosecond, true},
			{1, Grace - 4*time.Second, false},
			{9, 0, false},
		}
		for _, tt := range tests {
			got := p.BySerial(tt.serial, now.Add(tt.after))
			if (got != nil) != tt.want || (got != nil && got.Ref().Serial != tt.serial) {
				t.Errorf("BySerial(%d) after %v = %+v, want one: %v", tt.serial, tt.after, ref(got), tt.want)
			}
		}
		if ref(p.Previous) != refOf(all[1]) || !p.Until.Equal(now.Add(Grace)) {
			t.Errorf("previous %+v until %v", ref(p.Previous), p.Until)
		}
	})
	var none *Policies
	if none.BySerial(1, time.Now()) != nil {
		t.Error("a nil *Policies has a policy")
	}
}

func TestChangedTellsOfEachChange(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		sp := signedPolicy(t, "a", 1)
		for _, step := range []*discovery.DeltaDiscoveryResponse{policies(sp), state(revision(sp))} {
			changed := c.Changed()
			s.accepted(step)
			<-changed
		}
		changed := c.Changed()
		s.accepted(policies(sp)) // nothing new
		synctest.Wait()
		select {
		case <-changed:
			t.Error("told of a change, and there was none")
		default:
		}
	})
}

func TestPolicyIsNotInForceUntilItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp, dir := newControlPlane(t), t.TempDir()
		c, _ := cp.client(dir)
		s := <-cp.streams
		block := filepath.Join(dir, policyFile) // a directory cannot be replaced by a file
		if err := os.MkdirAll(filepath.Join(block, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		sp := signedPolicy(t, "a", 1)
		s.accepted(policies(sp))
		named := s.send(state(revision(sp)))
		if err := s.answer(named); err == nil || !strings.Contains(err.Error(), "save ") {
			t.Errorf("answer: %v, want a NACK of what could not be saved", err)
		}
		wantCurrent(t, c, nil)
		if err := os.RemoveAll(block); err != nil {
			t.Fatal(err)
		}
		if err := s.answer(named); err != nil { // it is tried again
			t.Errorf("NACK after the disk recovered: %v", err)
		}
		wantCurrent(t, c, sp)
	})
}

func TestUnknownTypeEndsTheStream(t *testing.T) {
	inBubble(t, func(t *testing.T, c *Client, s *serverStream) {
		s.send(&discovery.DeltaDiscoveryResponse{TypeUrl: "type.googleapis.com/envoy.config.listener.v3.Listener"})
		if again := <-s.cp.streams; again == s {
			t.Error("the stream goes on")
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":                               {},
		"no keys":                               {Conn: fakeConn{}, Node: node, StateDir: t.TempDir()},
		"no directory":                          {Conn: fakeConn{}, Node: node, Keys: keySet("operator")},
		"threshold of more keys than there are": {Conn: fakeConn{}, Node: node, StateDir: t.TempDir(), Keys: &policyv1.KeySet{Threshold: 2, Keys: keySet("a").Keys}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("New with %s: no error", name)
		}
	}
}
