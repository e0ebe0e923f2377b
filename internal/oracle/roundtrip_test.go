package oracle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/maildriver/maildriver/mime"
)

// checks sets how many messages are made. It is called by the test, so that
// the test's cached result does not stand for another number.
func checks(t *testing.T) {
	n := os.Getenv("ORACLE_MESSAGES")
	if n == "" {
		if n = "10000"; testing.Short() {
			n = "1000"
		}
	}
	require.NoError(t, flag.Set("rapid.checks", n))
}

// TestRoundTrip composes what comes to rapid's mind and asks everyone.
func TestRoundTrip(t *testing.T) {
	checks(t)
	py, err := startCPython()
	require.NoError(t, err)
	if py == nil {
		t.Log("no python3: enmime alone is asked")
	} else {
		defer func() { require.NoError(t, py.close()) }()
	}
	rapid.Check(t, func(t *rapid.T) {
		d, want := drawDraft(t, 0)
		signature := sign(t, d)
		c, err := d.Compose()
		require.NoError(t, err)
		var raw bytes.Buffer
		_, err = c.WriteTo(&raw)
		require.NoError(t, err)
		checkShape(t, raw.String(), d.UTF8Headers)
		require.Equal(t, d.UTF8Headers && !ascii(raw.String()), c.SMTPUTF8)

		ours, defects, root, flowed, err := ourFacts(raw.Bytes())
		require.NoError(t, err)
		require.Empty(t, defects, "%s", raw.String())
		want.Structure = ours.Structure // checked by the others
		if signature != nil {
			want.Leaves = append(want.Leaves, *signature)
			checkSigned(t, raw.Bytes(), root)
		}
		if d.Flowed && want.Leaves[0].Type == "text/plain" {
			want.Leaves[0].Digest = ours.Leaves[0].Digest // the lines as they were sent: checked by the others
			require.Equal(t, joined(d.Text), strings.TrimRight(strings.ReplaceAll(flowed, "\r\n", "\n"), "\n"), "%s", raw.String())
		}
		require.Equal(t, want, ours, "we read something else than was written:\n%s", raw.String())

		theirs, defects, err := enmimeFacts(raw.Bytes())
		require.NoError(t, err, "enmime: %s", raw.String())
		require.Empty(t, defects, "enmime: %s", raw.String())
		require.Equal(t, ours, theirs, "enmime: %s", raw.String())
		if py != nil {
			theirs, defects, err = py.facts(raw.Bytes())
			require.NoError(t, err, "CPython: %s", raw.String())
			require.Empty(t, defects, "CPython: %s", raw.String())
			for _, list := range [][]person{theirs.From, theirs.To, theirs.Cc} {
				for i := range list {
					list[i].Addr = bare(list[i].Addr)
				}
			}
			require.Equal(t, ours, theirs, "CPython: %s", raw.String())
		}
	})
}

// checkShape holds what every message must be whatever it says.
func checkShape(t *rapid.T, raw string, utf8Header bool) {
	for line := range strings.SplitSeq(raw, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("line %q", line)
		}
	}
	if utf8Header {
		_, raw, _ = strings.Cut(raw, "\r\n\r\n")
	}
	if !ascii(raw) {
		t.Fatalf("8-bit in %q", raw)
	}
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// joined is how a text that went out flowed is read: without blanks at the ends
// of lines, but for the signature line, and with one blank behind quote marks.
func joined(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, l := range lines {
		body := strings.TrimLeft(l, ">")
		quote := l[:len(l)-len(body)]
		if quote != "" {
			body = strings.TrimPrefix(body, " ")
		}
		if body != "-- " {
			body = strings.TrimRight(body, " ")
		}
		if quote != "" && body != "" {
			quote += " "
		}
		lines[i] = quote + body
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// sign gives some drafts a signature that is the digest of what it signs, and
// returns the leaf that it becomes.
func sign(t *rapid.T, d *mime.Draft) *leaf {
	kind := rapid.SampledFrom([]string{"", "", "", "", "application/pgp-signature", "application/pkcs7-signature"}).Draw(t, "signature")
	if kind == "" {
		return nil
	}
	out := &leaf{Type: kind, Filename: "signature.bin", Disposition: "attachment"}
	d.SignBody = func(part io.WriterTo) (*mime.Signature, error) {
		var b bytes.Buffer
		if _, err := part.WriteTo(&b); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b.Bytes())
		data := []byte(hex.EncodeToString(sum[:]))
		if kind == "application/pkcs7-signature" {
			data = sum[:]
		}
		out.Digest = digest(string(data), false)
		return &mime.Signature{Protocol: kind, MicAlg: "sha-256", Name: out.Filename, Data: data}, nil
	}
	return out
}

// checkSigned verifies the signature over the part as it stands in the message.
func checkSigned(t *rapid.T, raw []byte, root *mime.Part) {
	require.Equal(t, "multipart/signed", root.Type)
	require.Len(t, root.Children, 2)
	body, sig := root.Children[0], root.Children[1]
	sum := sha256.Sum256(raw[body.Offset : body.BodyOffset+body.RawSize])
	want := digest(hex.EncodeToString(sum[:]), false)
	if sig.Type == "application/pkcs7-signature" {
		want = digest(string(sum[:]), false)
	}
	got := &keeper{bodies: map[*mime.Part]*bytes.Buffer{}, text: map[*mime.Part]io.Closer{}}
	tree, err := mime.Parse(bytes.NewReader(raw), got)
	require.NoError(t, err)
	require.Equal(t, want, digest(got.bodies[tree.Children[1]].String(), false), "the signature is not that of the part as it was sent:\n%s", raw)
}

var (
	// No whole encoded word is among them: enmime decodes twice, and so do we
	// in file names, which some mailers encode twice.
	words = rapid.SampledFrom([]string{
		"hello", "world", "Grüße", "naïve", "日本語", "漢字かな", "Привет", "😀", "e\u0301", "ﬀ", "שלום", "=?x?=", "=?", "?=", "=3D", "a=b", "100%",
		"quo\"te", "back\\slash", "(paren)", "x<angle>y", "a,b", "semi;colon", "co:lon", "at@sign", "Re:", "[x]", "'", "`", "~", "--", ".", "..", "&amp;", "\u00a0",
		strings.Repeat("long", 30), strings.Repeat("ü", 60), strings.Repeat("字", 50),
	})
	atoms  = rapid.StringMatching(`[a-z][a-z0-9_+-]{0,10}(\.[a-z0-9]{1,8}){0,2}`)
	domain = rapid.StringMatching(`[a-z][a-z0-9]{0,10}(\.[a-z]{2,6}){1,2}`)
)

// phraseOf draws a line of header text.
func phraseOf(most int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(words, 0, most).Draw(t, "words"), " ")
	})
}

var address = rapid.Custom(func(t *rapid.T) mime.Address {
	local := atoms.Draw(t, "local")
	if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
		local = rapid.SampledFrom([]string{`"a b"`, `"a@b"`, `"x,y"`, `"<z>"`, `"a;b"`}).Draw(t, "quoted")
	}
	return mime.Address{Name: phraseOf(4).Draw(t, "name"), Addr: local + "@" + domain.Draw(t, "domain")}
})

var bodyLine = rapid.OneOf(phraseOf(30), rapid.SampledFrom([]string{
	"", ".", "..", "From here", ">From here", "-- ", "--", "--=_boundary", "trailing ", "tab\t", "=", "=20", "=\t", " lead", "begin 644 x", "\x01\x7f", "Subject: x",
	strings.Repeat("x", 75), strings.Repeat("x", 76), strings.Repeat("x", 77), strings.Repeat("x", 997), strings.Repeat("x", 998), strings.Repeat("x", 999), strings.Repeat("x y ", 600),
}))

var body = rapid.Custom(func(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(bodyLine, 0, 8).Draw(t, "lines"), rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "ends"))
})

// expect is how a display name or a subject is read back.
func expect(s string) string { return squeeze(strings.ReplaceAll(s, "\u00a0", " ")) }

func persons(list []mime.Address) []person {
	out := []person{}
	for _, a := range list {
		out = append(out, person{expect(a.Name), bare(a.Addr)})
	}
	return out
}

// drawDraft draws a message that is inside of so many others.
func drawDraft(t *rapid.T, depth int) (*mime.Draft, facts) {
	d := &mime.Draft{
		From: address.Draw(t, "from"), To: rapid.SliceOfN(address, 1, 5).Draw(t, "to"), Cc: rapid.SliceOfN(address, 0, 3).Draw(t, "cc"),
		Subject: phraseOf(12).Draw(t, "subject"), Text: body.Draw(t, "text"), Date: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "date"), 0),
		MessageID: atoms.Draw(t, "id") + "@" + domain.Draw(t, "iddomain"),
	}
	if rapid.Bool().Draw(t, "html?") {
		d.HTML = "<p>" + body.Draw(t, "html")
	}
	if rapid.IntRange(0, 3).Draw(t, "short?") == 0 {
		d.MaxLineLength = rapid.IntRange(76, 998).Draw(t, "line length")
	}
	d.Charset = rapid.SampledFrom([]string{"", "", "", "utf-8", "iso-8859-1", "koi8-r", "iso-2022-jp", "gb18030"}).Draw(t, "charset")
	d.Flowed = rapid.IntRange(0, 3).Draw(t, "flowed?") == 0
	if depth == 0 && rapid.IntRange(0, 3).Draw(t, "utf8?") == 0 {
		d.UTF8Headers = true
		d.To[0].Addr = rapid.SampledFrom([]string{"δοκιμή@example.com", "用户@例子.example", "ü.b@exämple.org", d.To[0].Addr}).Draw(t, "utf8 address")
	}
	var leaves []leaf
	if d.Text != "" || d.HTML == "" {
		leaves = append(leaves, leaf{Type: "text/plain", Digest: digest(d.Text, true)})
	}
	if d.HTML != "" {
		leaves = append(leaves, leaf{Type: "text/html", Digest: digest(d.HTML, true)})
	}
	var files []leaf
	if depth < 2 && rapid.IntRange(0, 3).Draw(t, "message?") == 0 {
		inner, told := drawDraft(t, depth+1)
		inner.Flowed = false
		c, err := inner.Compose()
		require.NoError(t, err)
		var b bytes.Buffer
		_, err = c.WriteTo(&b)
		require.NoError(t, err)
		d.Attachments = append(d.Attachments, mime.Attachment{
			Name: phraseOf(3).Draw(t, "message name"), Type: "message/rfc822",
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		})
		files = append(files, told.Leaves...)
	}
	for range rapid.IntRange(0, 3).Draw(t, "files") {
		data := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")
		a := mime.Attachment{
			Name: phraseOf(6).Draw(t, "file"), Type: rapid.SampledFrom([]string{"", "application/pdf", "image/png"}).Draw(t, "type"),
			Inline: rapid.Bool().Draw(t, "inline"), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		}
		if a.Inline {
			a.ContentID = domain.Draw(t, "cid") + "@" + domain.Draw(t, "ciddomain") // no "+", which enmime takes for a blank as in URLs
		}
		d.Attachments = append(d.Attachments, a)
		l := leaf{Type: a.Type, Filename: expect(a.Name), Disposition: "attachment", CID: a.ContentID, Digest: digest(string(data), false)}
		if l.Type == "" {
			l.Type = "application/octet-stream"
		}
		if a.Inline {
			l.Disposition = "inline"
		}
		if a.Inline && d.HTML != "" {
			leaves = append(leaves, l) // with the HTML that shows it
		} else {
			files = append(files, l)
		}
	}
	return d, facts{
		Subject: expect(d.Subject), MessageID: d.MessageID, Date: d.Date.Unix(), From: persons([]mime.Address{d.From}), To: persons(d.To), Cc: persons(d.Cc),
		Leaves: append(append([]leaf{}, leaves...), files...),
	}
}
