package smtp

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/smtp/smtptest"
	"github.com/maildriver/maildriver/spool"
)

const mixed = "From: a@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n" +
	"Content-Type: multipart/mixed; boundary=B\r\n\r\npreamble\r\n" +
	"--B\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße = schön\r\n.\r\nend\r\n" +
	"--B\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain all the same\r\n" +
	"--B\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding:\r\n binary\r\n\r\n\x80\x81\xff no end\r\n" +
	"--B\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n" +
	"--B\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
	"Subject: inner\r\nContent-Type: multipart/alternative; boundary=C\r\n\r\n" +
	"--C\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n<p>\xe4\xf6\xfc\r\n--C--\r\n" +
	"--B--\r\n"

// leaves parses a message and gives the decoded bodies of its leaves.
func leaves(t *testing.T, raw []byte) (list []string, root *mime.Part) {
	t.Helper()
	sink := &leafSink{}
	root, err := mime.Parse(bytes.NewReader(raw), sink)
	require.NoError(t, err)
	for p := range root.All() {
		assert.Empty(t, p.Defects, "%s", p.Path)
	}
	return sink.list, root
}

type leafSink struct {
	b    *bytes.Buffer
	list []string
}

func (s *leafSink) Begin(p *mime.Part) (io.Writer, error) {
	if p.IsMultipart() || p.IsMessage() {
		return nil, nil
	}
	s.b = &bytes.Buffer{}
	return s.b, nil
}

func (s *leafSink) End(p *mime.Part) error {
	if !p.IsMultipart() && !p.IsMessage() {
		s.list = append(s.list, p.Type+": "+s.b.String())
	}
	return nil
}

func TestA11Reencode(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long ", 300)
	tests := []struct {
		name, body string
		offer      []string
		opts       []driver.Option
		binary     bool
		want       string // on the wire, "" for what the leaves tell
	}{
		{name: "8 bit, taken", body: mixed, offer: []string{"8BITMIME"}, want: mixed},
		{name: "parts of all kinds", body: mixed},
		{
			name: "text", body: "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße und so weiter\r\n",
			want: "Content-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr=C3=BC=C3=9Fe und so weiter\r\n",
		},
		{
			name: "no MIME, UTF-8", body: "Subject: x\r\n\r\nGrüße und so weiter\r\n",
			want: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=utf-8\r\nSubject: x\r\n\r\nGr=C3=BC=C3=9Fe und so weiter\r\n",
		},
		{
			name: "no MIME, something else", body: "Subject: x\r\n\r\nGr\xfc\xdfe, a few of them\r\n",
			want: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=unknown-8bit\r\nSubject: x\r\n\r\nGr=FC=DFe, a few of them\r\n",
		},
		{name: "mostly 8 bit", body: "Content-Type: text/plain; charset=koi8-r\r\nMIME-Version: 1.0\r\n\r\n\xf0\xd2\xc9\r\n", want: "Content-Transfer-Encoding: base64\r\nContent-Type: text/plain; charset=koi8-r\r\nMIME-Version: 1.0\r\n\r\n8NLJDQo=\r\n"},
		{
			name: "blanks behind the names", body: "MIME-Version: 1.0\r\nContent-Transfer-Encoding : 8bit\r\nContent-Type : text/plain; charset=utf-8\r\n\r\nGrüße und so weiter\r\n",
			want: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type : text/plain; charset=utf-8\r\n\r\nGr=C3=BC=C3=9Fe und so weiter\r\n",
		},
		{
			name: "a header that only its last field holds together", body: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\nno field\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße und so weiter\r\n",
			want: "MIME-Version: 1.0\r\nno field\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr=C3=BC=C3=9Fe und so weiter\r\n",
		},
		{name: "a long line", body: "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" + long + "\r\n", offer: []string{"8BITMIME"}},
		{name: "limit lowered", body: "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat("x", 77) + "\r\n", opts: []driver.Option{WithMaxLineLength(76)}},
		{name: "NUL", body: "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\na\x00b\r\n", offer: []string{"8BITMIME"}},
		{name: "NUL, binary taken", body: "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\na\x00b\r\n", offer: []string{"8BITMIME", "CHUNKING", "BINARYMIME"}, want: "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\na\x00b\r\n"},
		{name: "binary", binary: true, body: "MIME-Version: 1.0\r\nContent-Type: image/x; a=b\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\rc\r\n.\r\n\x00\xff", offer: []string{"8BITMIME", "CHUNKING", "BINARYMIME", "PIPELINING"}, want: "MIME-Version: 1.0\r\nContent-Type: image/x; a=b\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\rc\r\n.\r\n\x00\xff"},
		{name: "binary, not taken", binary: true, body: "MIME-Version: 1.0\r\nContent-Type: image/x; a=b\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\rc\r\n.\r\n\x00\xff", offer: []string{"8BITMIME", "CHUNKING", "PIPELINING"}},
		{name: "signed, and the rest is not", body: "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Type: multipart/signed; boundary=S\r\n\r\n--S\r\nContent-Transfer-Encoding: 8bit\r\n\r\nsigned\r\n--S\r\nContent-Type: application/pgp-signature\r\n\r\nsig\r\n--S--\r\n--B\r\n\r\n\xfc\r\n--B--\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			sp, err := spool.New(root)
			require.NoError(t, err)
			srv, d := start(t, []smtptest.Option{offer(tt.offer...)}, tt.opts...)
			m := message(tt.body)
			m.Binary = tt.binary
			for _, opts := range [][]driver.Option{nil, {driver.WithSpool(sp), WithSaveSent(true)}} {
				srv.ClearMessages()
				rec, err := send(t, d, m, opts...)
				require.NoError(t, err)
				agree(t, srv, rec, tt.name)
				got := srv.Messages()[0].Data
				if tt.want != "" {
					assert.Equal(t, tt.want, string(got))
				} else {
					before, _ := leaves(t, []byte(tt.body))
					after, _ := leaves(t, got)
					assert.Equal(t, before, after, "nothing is lost or changed")
				}
				if opts != nil {
					saved, err := os.ReadFile(rec.SavedFile)
					require.NoError(t, err)
					assert.Equal(t, string(got), string(saved), "the copy is what was on the wire")
					files, err := os.ReadDir(sp.Dir(spool.Sent))
					require.NoError(t, err)
					assert.Len(t, files, 1, "and the only one")
					require.NoError(t, os.Remove(rec.SavedFile))
				}
			}
		})
	}
}

func TestA11Refused(t *testing.T) {
	head := "MIME-Version: 1.0\r\n"
	tests := []struct {
		name, body string
		offer      []string
		want       any
	}{
		{name: "header", body: "Subject: Gr\xfc\xdfe\r\n\r\nx\r\n", want: new(*ExtensionError)},
		{name: "NUL in the header", body: "Subject: \x00\r\n\r\nx\r\n", offer: []string{"8BITMIME"}, want: new(*ContentError)},
		{name: "long header", body: "Subject: " + strings.Repeat("x", 1000) + "\r\n\r\nx\r\n", want: new(*ContentError)},
		{name: "signed", body: head + "Content-Type: multipart/signed; boundary=S\r\n\r\n--S\r\n\r\n\xfc\r\n--S\r\n\r\nsig\r\n--S--\r\n", want: new(*ExtensionError)},
		{name: "in the preamble", body: head + "Content-Type: multipart/mixed; boundary=B\r\n\r\n\xfc\r\n--B\r\n\r\nx\r\n--B--\r\n", want: new(*ExtensionError)},
		{name: "said to be encoded", body: head + "Content-Transfer-Encoding: quoted-printable\r\n\r\n\xfc\r\n", want: new(*ExtensionError)},
		{name: "too large", body: strings.Repeat("xyz\r\n", 21), offer: []string{"SIZE 100"}, want: new(*SizeError)},
		{name: "too large once encoded", body: "Subject: x\r\n\r\n" + strings.Repeat("\xfc", 90) + "\r\n", offer: []string{"SIZE 120"}, want: new(*SizeError)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv, d := start(t, []smtptest.Option{offer(tt.offer...)})
			rec, err := send(t, d, message(tt.body))
			agree(t, srv, rec, tt.name)
			require.ErrorAs(t, err, tt.want)
			assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
			assert.Equal(t, driver.KindPermanent, driver.KindOf(err))
			for _, c := range srv.Commands(1) {
				assert.NotRegexp(t, "^MAIL", c, "refused before MAIL")
			}
		})
	}
	srv, d := start(t, []smtptest.Option{offer("SIZE 100")})
	_, err := send(t, d, message(strings.Repeat("xyz\r\n", 20)))
	require.NoError(t, err, "just not too large")
	_, err = send(t, d, message(strings.Repeat("x", 5000)+"\r\n"), WithMaxLineLength(0))
	require.Error(t, err)
	assert.Len(t, srv.Messages(), 1)
}

// FuzzReencode checks that what goes out to the simplest server is always fit
// for it, and that the leaves stay what they were.
func FuzzReencode(f *testing.F) {
	f.Add(mixed)
	f.Add("\xfc")
	f.Add("\r\n\xfc\r\n")
	f.Add("Content-Type: multipart/mixed; boundary=a\n\n--a\n\xfc\n--a--\n\xfc")
	f.Fuzz(func(t *testing.T, in string) {
		c, err := scan(t.Context(), message(in), nil)
		require.NoError(t, err)
		edits, err := plan(t.Context(), c, false, 998)
		if err != nil {
			require.True(t, isContentError(err) || errors.Is(err, mime.ErrLimit), "%v", err)
			return
		}
		var out bytes.Buffer
		got, err := reencode(t.Context(), c, edits, &out)
		require.NoError(t, err)
		assert.Equal(t, int64(out.Len()), got.size)
		assert.False(t, got.eightBit || got.nul || got.longest > 998, "%q", out.String())
	})
}

// TestReencodeMultipartWithoutParts has what must be encoded lie in no part that
// could name an encoding: to encode it would make something else of the message.
func TestReencodeMultipartWithoutParts(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("Grüße aus Köln\r\n", 3)
	long := strings.Repeat("x", 1200) + "\r\n"
	head := "From: a@example.com\r\nMIME-Version: 1.0\r\n"
	for name, tt := range map[string]struct {
		body   string
		allow8 bool
		ok     bool
	}{
		"8-bit text, delimiters lost":  {body: head + "Content-Type: multipart/mixed; boundary=gone\r\n\r\n" + text},
		"long line, delimiters lost":   {body: head + "Content-Type: multipart/mixed; boundary=gone\r\n\r\n" + long, allow8: true},
		"says it is 8bit":              {body: head + "Content-Transfer-Encoding: 8bit\r\nContent-Type: multipart/mixed; boundary=gone\r\n\r\n" + text},
		"says it is base64":            {body: head + "Content-Transfer-Encoding: base64\r\nContent-Type: multipart/mixed; boundary=gone\r\n\r\n" + text},
		"no boundary":                  {body: head + "Content-Type: multipart/mixed\r\n\r\n" + text},
		"blanks beyond ASCII":          {body: head + "Content-Type: multipart/mixed; boundary=gone\r\n\r\n\u00a0\r\n\u00a0\r\n"},
		"inside another":               {body: head + "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nContent-Type: multipart/alternative; boundary=gone\r\n\r\n" + text + "--B--\r\n"},
		"8-bit text, delimiters lost,": {body: head + "Content-Type: multipart/mixed; boundary=gone\r\n\r\n" + text, allow8: true, ok: true},
		"a part without header":        {body: head + "Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\n" + text + "--B--\r\n", ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			extensions := []string{"PIPELINING"}
			if tt.allow8 {
				extensions = append(extensions, "8BITMIME")
			}
			srv, d := start(t, []smtptest.Option{offer(extensions...)})
			rec, err := send(t, d, message(tt.body))
			if tt.ok {
				require.NoError(t, err)
				require.Len(t, srv.Messages(), 1)
				assert.Equal(t, bodies(t, []byte(tt.body)), bodies(t, srv.Messages()[0].Data))
				return
			}
			var ce *ContentError
			require.ErrorAs(t, err, &ce)
			assert.Contains(t, ce.Problem, "a multipart whose parts cannot be told")
			assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
			assert.Empty(t, srv.Messages())
		})
	}
}

// bodies gives the decoded bodies of the leaves of a message with defects.
func bodies(t *testing.T, raw []byte) []string {
	t.Helper()
	sink := &leafSink{}
	_, err := mime.Parse(bytes.NewReader(raw), sink)
	require.NoError(t, err)
	return sink.list
}
