// Package dataclass says of what class data is and who says so, and what it does to a
// call that nobody does.
package dataclass

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/sallyport-mesh/sallyport/gateway/policy"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// Class is what data counts as. The zero value is that of a policy that knows no
// classes.
type Class struct {
	Name   string
	Source crossingv1.Operation_DataClassSource
}

// Of is the class of what somebody sends unless it is labelled: what he is registered
// as, else the last.
func Of(p *policy.Policy, sender spiffeid.ID) Class { return ofWorkload(p, p.WorkloadByID(sender)) }

func ofWorkload(p *policy.Policy, w *policy.Workload) Class {
	all := p.DataClasses()
	switch {
	case len(all) == 0:
		return Class{}
	case w == nil || w.DataClass == "":
		return Class{all[len(all)-1], crossingv1.Operation_DEFAULT}
	}
	return Class{w.DataClass, crossingv1.Operation_WORKLOAD}
}

// Answer is the class of what a callee answers, of which a label says that it is of the
// class said: what it is registered as, unless that is lower. An unknown class is none.
func Answer(p *policy.Policy, callee *policy.Workload, said string) Class {
	registered, all := ofWorkload(p, callee), p.DataClasses()
	if slices.Index(all, said) > slices.Index(all, registered.Name) {
		return Class{said, crossingv1.Operation_LABEL}
	}
	return registered
}

// asked is the class of what a question is about.
func asked(p *policy.Policy, q *policy.Query) Class {
	if said, ok := q.Attributes.Get(policy.DataClass); ok {
		return Class{said, crossingv1.Operation_LABEL}
	}
	return Of(p, q.From)
}

// String says it for people; "" of a policy that knows no classes.
func (c Class) String() string {
	switch c.Source {
	case crossingv1.Operation_WORKLOAD:
		return c.Name + ", by its registration"
	case crossingv1.Operation_LABEL:
		return c.Name + ", by its label"
	case crossingv1.Operation_DEFAULT:
		return "none registered: counts as " + c.Name + ", the last"
	case crossingv1.Operation_DATA_CLASS_SOURCE_UNSPECIFIED:
	}
	return c.Name
}
