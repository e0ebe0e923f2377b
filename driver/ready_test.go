package driver_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// TestReadyMessageHidesBlindCopies has no Bcc in what is sent, whatever a
// server takes for the end of a line.
func TestReadyMessageHidesBlindCopies(t *testing.T) {
	far := "X-Far: " + strings.Repeat("y", 5000)
	for _, tt := range []struct{ name, in, want, to string }{
		{"CRLF", "From: a@x.org\r\nTo: b@x.org\r\nBcc: secret@x.org\r\nSubject: s\r\n\r\nbody\r\n", "From: a@x.org\r\nTo: b@x.org\r\nSubject: s\r\n\r\nbody\r\n", "b@x.org secret@x.org"},
		{"LF", "From: a@x.org\nTo: b@x.org\nBCC : secret@x.org,\n\tsecret2@x.org\n\nBcc: body\n", "From: a@x.org\nTo: b@x.org\n\nBcc: body\n", "b@x.org secret@x.org secret2@x.org"},
		{"CR", "From: a@x.org\rTo: b@x.org\rBcc: secret@x.org\rSubject: s\r\rBcc: body\r", "From: a@x.org\rTo: b@x.org\rSubject: s\r\rBcc: body\r", "b@x.org secret@x.org"},
		{"CR, at once", "Bcc: secret@x.org\rFrom: a@x.org\rTo: b@x.org\r\rbody", "From: a@x.org\rTo: b@x.org\r\rbody", "b@x.org secret@x.org"},
		{"CR, then LF far below", "Bcc: secret@x.org\rTo: b@x.org\r" + far + "\r\rbody\nmore\n", "To: b@x.org\r" + far + "\r\rbody\nmore\n", "b@x.org secret@x.org"},
		{"a CR in a line", "To: b@x.org\nX: y\rBcc: secret@x.org\nSubject: s\n\nbody\n", "To: b@x.org\nX: y\nSubject: s\n\nbody\n", "b@x.org"},
		{"a CR in a CRLF header", "To: b@x.org\r\nX: y\rBcc: secret@x.org\r z\r\nSubject: s\r\n\r\nbody\r\n", "To: b@x.org\r\nX: y\r\nSubject: s\r\n\r\nbody\r\n", "b@x.org"},
		{"a CR in the field", "To: b@x.org\nBcc: secret@x.org,\rsecret2@x.org\nSubject: s\n\nbody\n", "To: b@x.org\nSubject: s\n\nbody\n", "b@x.org secret@x.org secret2@x.org"},
		{"two CRs in a line", "To: b@x.org\nX: y\r\rBcc: secret@x.org\n\nbody\n", "To: b@x.org\nX: y\n\n\nbody\n", "b@x.org"},
		{"resent", "To: b@x.org\nResent-Bcc: secret@x.org\nresent-bcc:\n secret@x.org\nSubject: s\n\nbody\n", "To: b@x.org\nSubject: s\n\nbody\n", "b@x.org"},
		{"below a line that is no field", "To: b@x.org\nnonsense\nBcc: secret@x.org\n\nbody\n", "To: b@x.org\nnonsense\n\nbody\n", "b@x.org secret@x.org"},
		{"no body", "To: b@x.org\nBcc: secret@x.org", "To: b@x.org\n", "b@x.org secret@x.org"},
		{"no header", "\nBcc: body\n", "\nBcc: body\n", ""},
		{"none to hide", "To: b@x.org\nX: y\rz\nX-Bcc: c@x.org\n\nbody\n", "To: b@x.org\nX: y\rz\nX-Bcc: c@x.org\n\nbody\n", "b@x.org"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for how, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
				m, err := driver.ReadyMessage(func() (io.ReadCloser, error) { return io.NopCloser(wrap(strings.NewReader(tt.in))), nil })
				require.NoError(t, err, how)
				var to []string
				for _, r := range m.To {
					to = append(to, r.Address)
				}
				assert.Equal(t, tt.to, strings.Join(to, " "), how)
				for range 2 { // each sending
					got := slurp(t, m.Open)
					assert.Equal(t, tt.want, got, how)
					assert.NotContains(t, got, "secret", how)
				}
			}
		})
	}
}
