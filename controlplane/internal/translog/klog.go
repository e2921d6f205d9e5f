package translog

import (
	"io"
	"strings"

	"go.uber.org/zap"
	"k8s.io/klog/v2"
)

// quieten has what Tessera logs go where our own log does. Its library writes to standard
// error, for the whole process; what it says for its developers is nobody's to read here.
func quieten(log *zap.Logger) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	for _, severity := range []string{"WARNING", "ERROR"} {
		klog.SetOutputBySeverity(severity, lines{log.Named("tessera")})
	}
}

// lines are lines of klog: a header, a bracket, and the text.
type lines struct{ log *zap.Logger }

// Write implements io.Writer.
func (l lines) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if _, after, found := strings.Cut(text, "] "); found {
		text = after
	}
	l.log.Warn(text)
	return len(p), nil
}
