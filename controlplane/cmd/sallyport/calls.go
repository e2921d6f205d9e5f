package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
	"github.com/sallyport-mesh/sallyport/gateway/crossing/genai"
	controlv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/control/v1"
	crossingv1 "github.com/sallyport-mesh/sallyport/proto/sallyport/crossing/v1"
)

// callFlags are those of `crossings` that are about AI services.
type callFlags struct {
	request *controlv1.ListCrossingsRequest
	otel    string
}

func (c *callFlags) flags(cmd *cobra.Command, request *controlv1.ListCrossingsRequest) {
	c.request = request
	flags := cmd.Flags()
	flags.BoolVar(&request.Ai, "ai", false, "calls of AI services only, with what they were asked for and what they took")
	flags.StringVar(&request.ModelPrefix, "model", "", "what the name begins with of the model that is asked for or that serves")
	flags.StringVar(&request.Tool, "tool", "", "tool that is called, prompt that is got, or resource that is read")
	flags.StringVar(&request.DataClass, "data-class", "", "class of what the caller sends")
	flags.StringVar(&c.otel, "otel", "", "with --ai -o json: as OpenTelemetry attributes, by the names of this version of its conventions")
	complete(cmd, "otel", genai.Versions()...)
}

// crossingForm is how crossings are written: the format, and what of a record.
type crossingForm struct {
	format render.Format
	value  func(*crossingv1.Record) any
	row    func(*render.Grid, *crossingv1.Record)
	table  func(io.Writer, []*crossingv1.Record) error
	live   func() *render.Grid
}

// form is how the flags want them.
func (c *callFlags) form(format render.Format) (crossingForm, error) {
	f := crossingForm{
		format: format, live: render.LiveCrossings, row: render.CrossingRow,
		value: func(r *crossingv1.Record) any { return render.Message(r) },
		table: func(w io.Writer, all []*crossingv1.Record) error {
			return rows(w, render.Crossings(), render.CrossingRow, all)
		},
	}
	if c.request.GetAi() {
		f.live, f.row, f.table = render.LiveCalls, render.CallRow, callTable
	}
	if c.otel == "" {
		return f, nil
	}
	version, err := genai.Parse(c.otel)
	switch {
	case err != nil:
		return f, usage("--otel: %v", err)
	case !c.request.GetAi():
		return f, usage("--otel goes with --ai: the conventions are of AI services")
	case format == render.Table:
		return f, usage("--otel goes with -o json or -o yaml")
	}
	f.value = func(r *crossingv1.Record) any { return render.Attributes(version.Attributes(r)) }
	return f, nil
}

func callTable(w io.Writer, all []*crossingv1.Record) error {
	if err := rows(w, render.Calls(), render.CallRow, all); err != nil || len(all) == 0 {
		return err
	}
	return render.CallTotals(w, all)
}

func rows(w io.Writer, g *render.Grid, row func(*render.Grid, *crossingv1.Record), all []*crossingv1.Record) error {
	for _, r := range all {
		row(g, r)
	}
	return g.Flush(w)
}
