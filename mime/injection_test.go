package mime

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestA13Parameters puts what would start a new line, field or parameter into
// everything of a draft that is no free text: addresses, ids, names of fields,
// types, charsets and what the signing functions return. A field is refused by
// its name, or what it holds cannot be told from harmless text; no message has a
// field or an address more for it.
func TestA13Parameters(t *testing.T) {
	signed := func(d *Draft, s Signature) {
		d.SignBody = func(w io.WriterTo) (*Signature, error) {
			_, err := w.WriteTo(io.Discard)
			return &s, err
		}
	}
	fields := []struct {
		field   string // as the error names it
		set     func(d *Draft, v string)
		good    string
		cleaned bool // not refused: what is evil in it is taken out or encoded
	}{
		{field: "From", good: "a@x.org", set: func(d *Draft, v string) { d.From.Addr = v }},
		{field: "Sender", good: "a@x.org", set: func(d *Draft, v string) { d.Sender.Addr = v }},
		{field: "ReplyTo[0]", good: "a@x.org", set: func(d *Draft, v string) { d.ReplyTo = []Address{{Addr: v}} }},
		{field: "To[1]", good: "a@x.org", set: func(d *Draft, v string) { d.To = append(d.To, Address{Addr: v}) }},
		{field: "Cc[0]", good: "a@x.org", set: func(d *Draft, v string) { d.Cc = []Address{{Addr: v}} }},
		{field: "Bcc[0]", good: "a@x.org", set: func(d *Draft, v string) { d.Bcc = []Address{{Addr: v}} }},
		{field: "MessageID", good: "i@x.org", set: func(d *Draft, v string) { d.MessageID = v }},
		{field: "Header[0]", good: "X-Name", set: func(d *Draft, v string) { d.Header = []Field{{v, "value"}} }},
		{field: "Charset", good: "iso-8859-1", set: func(d *Draft, v string) { d.Charset, d.Text = v, "ü" }},
		{field: "Attachments[0].ContentID", good: "c@x.org", cleaned: true, set: func(d *Draft, v string) {
			d.Attachments = []Attachment{{ContentID: v, Open: stringFile("x")}}
		}},
		{field: "SignBody", good: "application/pgp-signature", set: func(d *Draft, v string) { signed(d, Signature{v, "sha-256", "", []byte("s")}) }},
		{field: "SignBody", good: "sha-256", set: func(d *Draft, v string) { signed(d, Signature{"a/b", v, "", []byte("s")}) }},
		{field: "Sign", good: "DKIM-Signature: v=1", set: func(d *Draft, v string) {
			d.Sign = func(io.WriterTo) ([]byte, error) { return []byte(v + "\r\n"), nil }
		}, cleaned: true}, // it may return several fields
		{field: "Attachments[0].Type", good: "text/plain", cleaned: true, set: func(d *Draft, v string) {
			d.Attachments = []Attachment{{Type: v, Open: stringFile("x")}}
		}},
		{field: "", good: "text/plain; charset=utf-8", cleaned: true, set: func(d *Draft, v string) {
			d.Attachments = []Attachment{{Type: "text/plain; method=\"" + v + "\"", Open: stringFile("x")}}
		}},
		{field: "", good: "sig.asc", cleaned: true, set: func(d *Draft, v string) { signed(d, Signature{"a/b", "sha-256", v, []byte("s")}) }},
		{field: "", good: "auto-replied", cleaned: true, set: func(d *Draft, v string) { d.AutoSubmitted = v }},
		{field: "", good: "i@x.org", cleaned: true, set: func(d *Draft, v string) { d.InReplyTo, d.References = []string{v}, []string{v} }},
	}
	evils := []string{
		"\r\nBcc: v@y.org", "\nBcc: v@y.org", "\rBcc: v@y.org", "\r\n\r\n<script>", "\x00", "\x0b", "\u0085Bcc: v@y.org", "\u2028Bcc: v@y.org",
		"\u560d\u560aBcc: v@y.org", "\r\n Bcc: v@y.org", "\r\n\t\r\n", ">\r\nBcc: <v@y.org",
	}
	for _, f := range fields {
		base := func(v string) *Draft {
			d := &Draft{From: Address{Addr: "a@x.org"}, To: []Address{{Addr: "b@x.org"}}, MessageID: "id@x.org", Text: "t"}
			f.set(d, v)
			return d
		}
		plain, _ := composed(t, base(f.good))
		want, _, err := parseString(plain)
		require.NoError(t, err)
		for _, evil := range evils {
			for _, v := range []string{f.good + evil, evil + f.good, strings.Replace(f.good, "@", evil+"@", 1)} {
				if v == f.good {
					continue
				}
				c, err := base(v).Compose()
				if err != nil {
					var de *DraftError
					require.ErrorAs(t, err, &de, "%s %q", f.field, v)
					assert.Equal(t, f.field, de.Field, "%q", v)
					assert.NotContains(t, err.Error(), "\n")
					continue
				}
				assert.True(t, f.cleaned, "%s took %q", f.field, v)
				var b strings.Builder
				_, err = c.WriteTo(&b)
				require.NoError(t, err)
				checkWire(t, b.String())
				got, _, err := parseString(b.String())
				require.NoError(t, err)
				assert.Equal(t, outline(want), outline(got), "%s %q", f.field, v)
				assert.False(t, got.Header.Has("Bcc") && f.field != "Sign", "%s %q", f.field, v)
				assert.Len(t, c.Recipients, len(want.Header.Addresses("To"))+len(want.Header.Addresses("Cc")))
				if f.field != "Sign" {
					assert.Equal(t, fieldNames(want), fieldNames(got), "%s %q", f.field, v)
				}
			}
		}
	}
}
