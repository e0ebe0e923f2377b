package mime

import (
	"errors"
	"fmt"
)

// The limits that hold where a field of [Limits] is zero.
const (
	// DefaultHeaderBytes bounds one header block: 1 MiB.
	DefaultHeaderBytes = 1 << 20
	// DefaultHeaderFields bounds the fields of one header block.
	DefaultHeaderFields = 10_000
	// DefaultAllHeaderBytes bounds the headers of all parts together: 16 MiB.
	DefaultAllHeaderBytes = 16 << 20
	// DefaultDepth bounds the nesting of parts.
	DefaultDepth = 100
	// DefaultParts bounds the parts of one message.
	DefaultParts = 10_000
	// DefaultLineBytes bounds one physical line of a header: 256 KiB. Lines of
	// a body have no limit, they are passed on in pieces.
	DefaultLineBytes = 256 << 10
	// DefaultDecodedBytes bounds the decoded bytes of all parts together: 1 GiB.
	DefaultDecodedBytes = 1 << 30
)

// ErrLimit is matched by every [LimitError].
var ErrLimit = errors.New("mime: limit exceeded")

// Limits bounds what one message may cost. A zero field means the default, a
// negative one no limit.
type Limits struct {
	HeaderBytes  int64 // bytes of one header block
	HeaderFields int64 // fields of one header block
	Depth        int64 // levels of nested parts; the message itself is level 0
	Parts        int64 // parts of the whole message
	LineBytes    int64 // bytes of one physical header line
	DecodedBytes int64 // decoded bytes of all leaves together
	// AllHeaderBytes bounds the header blocks of all parts together, which the
	// tree keeps; each field counts 16 bytes more, for its place in the index.
	AllHeaderBytes int64
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		v *int64
		d int64
	}{
		{&l.HeaderBytes, DefaultHeaderBytes},
		{&l.HeaderFields, DefaultHeaderFields},
		{&l.Depth, DefaultDepth},
		{&l.Parts, DefaultParts},
		{&l.LineBytes, DefaultLineBytes},
		{&l.DecodedBytes, DefaultDecodedBytes},
		{&l.AllHeaderBytes, DefaultAllHeaderBytes},
	} {
		switch {
		case *f.v == 0:
			*f.v = f.d
		case *f.v < 0:
			*f.v = int64(^uint64(0) >> 1)
		}
	}
	return l
}

// A LimitError tells that a message went past one of the [Limits]. The tree
// read so far is returned along with it.
type LimitError struct {
	Limit string // the field's name in Limits, e.g. "Depth"
	Max   int64  // its value
	Path  string // the part in which it happened, as Part.Path
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("mime: limit %s of %d exceeded in part %q", e.Limit, e.Max, e.Path)
}

// Is makes errors.Is(err, ErrLimit) true.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }
