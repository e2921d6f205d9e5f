package credentials

import (
	"fmt"
	"io"

	"go.uber.org/zap/zapcore"
)

// Secret is a secret that cannot be shown by accident: whatever prints, encodes or logs it
// says that it is redacted. The text is behind a function, which those who look into
// fields that are not theirs, as fmt does, do not call.
type Secret struct {
	reveal func() string
}

// redacted is what is shown of every secret, the empty one too.
const redacted = "[redacted]"

func newSecret(text string) Secret { return Secret{func() string { return text }} }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter, for every verb.
func (Secret) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) } //nolint:errcheck // as fmt itself does

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (Secret) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddString("secret", redacted)
	return nil
}
