package crossing

import crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"

// service checks the fields of an operation that are an AI service's.
func (c *fields) service(o *crossingv1.Operation) {
	c.text("model_requested", o.ModelRequested)
	c.text("model_served", o.ModelServed)
	c.text("finish_reason", o.FinishReason)
	c.text("data_class", o.DataClass)
	value(c, "data_class_source", o.DataClassSource, crossingv1.Operation_DataClassSource_name)
	c.tokens(o.Tokens)
	c.duration(o.FirstToken)
	c.text("tool", o.Tool)
	c.text("agent", o.Agent)
	c.texts("offered", o.Offered)
	for _, m := range o.Messages {
		c.message(m)
	}
	c.text("session", o.Session)
	c.text("request", o.Request)
	c.text("labeler", o.Labeler)
	c.text("model_version", o.ModelVersion)
	c.tensors(o.Inputs)
	c.artifact(o.Artifact)
}

func (c *fields) tensors(all []*crossingv1.Tensor) {
	for _, t := range all {
		if t == nil {
			continue
		}
		c.known(t)
		c.text("name", t.Name)
		c.text("datatype", t.Datatype)
	}
}

func (c *fields) artifact(a *crossingv1.Artifact) {
	if a == nil {
		return
	}
	c.known(a)
	c.text("name", a.Name)
	c.text("reference", a.Reference)
	c.text("kind", a.Kind)
	c.text("source", a.Source)
}

func (c *fields) texts(name string, all []string) {
	for _, s := range all {
		c.text(name, s)
	}
}

func (c *fields) message(m *crossingv1.Operation_Message) {
	if m == nil {
		return
	}
	c.known(m)
	c.text("name", m.Name)
	c.text("tool", m.Tool)
	c.text("intent", m.Intent)
	c.text("model", m.Model)
	value(c, "decision", m.Decision, crossingv1.Decision_name)
}

func (c *fields) tokens(t *crossingv1.Tokens) {
	if t == nil {
		return
	}
	c.known(t)
	value(c, "source", t.Source, crossingv1.Tokens_Source_name)
}

func (c *fields) said(s *crossingv1.Said) {
	if s == nil {
		return
	}
	c.known(s)
	c.text("id", s.Id)
	c.text("model_served", s.ModelServed)
	c.text("finish_reason", s.FinishReason)
	c.tokens(s.Tokens)
	c.duration(s.FirstToken)
	c.duration(s.LongestGap)
	c.text("fault", s.Fault)
	c.texts("tools_changed", s.ToolsChanged)
	c.tensors(s.Outputs)
}

func (c *fields) kept(k *crossingv1.Kept) {
	if k == nil {
		return
	}
	c.known(k)
	c.text("request", k.Request)
	c.text("answer", k.Answer)
}
