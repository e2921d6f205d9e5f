package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sallyport-mesh/sallyport/controlplane/cmd/sallyport/render"
)

// build is what a binary says of itself.
type build struct {
	version, revision, time, goVersion string
	modified                           bool
}

// buildOf reads what the Go toolchain wrote into the binary.
func buildOf(info *debug.BuildInfo, ok bool) build {
	if !ok {
		return build{version: "unknown"}
	}
	b := build{version: cmp.Or(info.Main.Version, "(devel)"), goVersion: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.revision = s.Value
		case "vcs.time":
			b.time = s.Value
		case "vcs.modified":
			b.modified = s.Value == "true"
		}
	}
	return b
}

// String is the build in a line.
func (b build) String() string {
	text := "sallyport " + b.version
	if b.revision != "" {
		text += ", commit " + b.revision
	}
	if b.modified {
		text += ", changed since"
	}
	if b.goVersion != "" {
		text += ", " + b.goVersion
	}
	return text
}

func (b build) value() render.Object {
	return render.Object{
		{Name: "version", Value: b.version},
		{Name: "revision", Value: b.revision},
		{Name: "time", Value: b.time},
		{Name: "modified", Value: b.modified},
		{Name: "go", Value: b.goVersion},
	}
}

func (a *app) versionCommand() *cobra.Command {
	var format render.Format
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := buildOf(debug.ReadBuildInfo())
			return a.print(format, b.value(), func(w io.Writer) error {
				_, err := fmt.Fprintln(w, b)
				return err
			})
		},
	}
	formatFlag(cmd, &format)
	return cmd
}
