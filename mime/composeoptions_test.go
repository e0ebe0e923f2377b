package mime

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func draftOf(change func(*Draft)) *Draft {
	d := &Draft{From: Address{Addr: "a@x.org"}, To: []Address{{Addr: "b@x.org"}}}
	change(d)
	return d
}

func composedRaw(t *testing.T, d *Draft) (*Composed, string) {
	t.Helper()
	c, err := d.Compose()
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = c.WriteTo(&b)
	require.NoError(t, err)
	return c, b.String()
}

// bodyOf composes, parses and gives the first text of a type, decoded.
func bodyOf(t *testing.T, raw, typ string) (string, *Part) {
	t.Helper()
	p, got, err := parseString(raw)
	require.NoError(t, err)
	require.Empty(t, codes(p))
	for q := range p.All() {
		if q.Type == typ {
			return strings.TrimSuffix(strings.ReplaceAll(decodeCharset([]byte(got[q.Path]), q.Charset), "\r\n", "\n"), "\n"), q
		}
	}
	t.Fatalf("no %s in %s", typ, outline(p))
	return "", nil
}

func TestComposeCharset(t *testing.T) {
	for _, c := range []struct{ charset, text, want, encoding string }{
		{"", "Grüße aus dem Norden", "utf-8", "quoted-printable"},
		{"UTF-8", "Grüße aus dem Norden", "utf-8", "quoted-printable"},
		{"iso-8859-1", "Grüße aus dem Norden", "iso-8859-1", "quoted-printable"},
		{"iso-8859-1", "5 € or so it seems", "utf-8", "quoted-printable"}, // not in it
		{"windows-1252", "5 € or so it seems", "windows-1252", "quoted-printable"},
		{"iso-2022-jp", "こんにちは、世界", "iso-2022-jp", "7bit"},
		{"Shift_JIS", "こんにちは、世界", "shift_jis", "base64"},
		{"koi8-r", "Привет, мир", "koi8-r", "base64"},
		{"GB18030", "你好, plain words around it", "gb18030", "quoted-printable"},
		{"koi8-r", "plain", "us-ascii", "7bit"},
	} {
		_, raw := composedRaw(t, draftOf(func(d *Draft) {
			d.Charset, d.Text, d.Subject = c.charset, c.text, "Re: "+c.text+" "+strings.TrimSpace(strings.Repeat(c.text+" ", 20))
			d.From.Name = c.text
		}))
		got, p := bodyOf(t, raw, "text/plain")
		assert.Equal(t, []string{c.text, c.want, c.encoding}, []string{got, p.Charset, p.Encoding}, c.charset)
		assert.Equal(t, "Re: "+c.text+" "+strings.TrimSpace(strings.Repeat(c.text+" ", 20)), p.Header.Text("Subject"), c.charset)
		assert.Equal(t, c.text, p.Header.Addresses("From")[0].Name)
		assert.Contains(t, raw, "Subject: Re: ")
		for line := range strings.SplitSeq(raw, "\r\n") {
			assert.LessOrEqual(t, len(line), 76, c.charset)
		}
	}
	for _, bad := range []string{"no-such-set", "utf-16", "utf-7", "x\r\nBcc: v@x.org", "replacement"} {
		_, err := draftOf(func(d *Draft) { d.Charset = bad }).Compose()
		var de *DraftError
		require.ErrorAs(t, err, &de, bad)
		assert.Equal(t, "Charset", de.Field)
	}
}

func TestComposeMaxLineLength(t *testing.T) {
	line := strings.Repeat("x", 100)
	for limit, want := range map[int]string{0: "7bit", 998: "7bit", 100: "7bit", 99: "quoted-printable", 76: "quoted-printable"} {
		_, raw := composedRaw(t, draftOf(func(d *Draft) { d.MaxLineLength, d.Text = limit, line }))
		got, p := bodyOf(t, raw, "text/plain")
		assert.Equal(t, line, got)
		assert.Equal(t, want, p.Encoding, limit)
	}
	for _, bad := range []int{-1, 75, 999} {
		_, err := draftOf(func(d *Draft) { d.MaxLineLength = bad }).Compose()
		assert.ErrorContains(t, err, "MaxLineLength")
	}
}

func TestComposeFlowed(t *testing.T) {
	text := strings.Repeat("word ", 60) + "end\n> " + strings.Repeat("quoted ", 30) + "x\nFrom here\n-- \nAnn"
	_, raw := composedRaw(t, draftOf(func(d *Draft) { d.Flowed, d.Text, d.HTML = true, text, "<p>x" }))
	got, p := bodyOf(t, raw, "text/plain")
	is, delSp := p.IsFlowed()
	assert.True(t, is)
	assert.False(t, delSp)
	assert.Equal(t, "7bit", p.Encoding)
	assert.Equal(t, text, unflow(t, got, delSp, 1000))
	_, html := bodyOf(t, raw, "text/html")
	assert.Empty(t, html.Params["format"])
	_, raw = composedRaw(t, draftOf(func(d *Draft) { d.Flowed, d.Text = true, strings.Repeat("wört ", 60) }))
	got, _ = bodyOf(t, raw, "text/plain")
	assert.Equal(t, strings.TrimSpace(strings.Repeat("wört ", 60)), unflow(t, got, false, 1000))
}

func TestComposeTextFromHTML(t *testing.T) {
	_, raw := composedRaw(t, draftOf(func(d *Draft) { d.HTML = "<p>one</p><p>two" }))
	p, _, err := parseString(raw)
	require.NoError(t, err)
	assert.Equal(t, "text/html", outline(p))
	_, raw = composedRaw(t, draftOf(func(d *Draft) { d.HTML, d.TextFromHTML = "<p>one</p><p>two", true }))
	got, root := bodyOf(t, raw, "text/plain")
	assert.Equal(t, "one\n\ntwo", got)
	assert.Equal(t, "multipart/alternative(text/plain,text/html)", outline(root.Parent))
}

func TestComposeUTF8Headers(t *testing.T) {
	d := draftOf(func(d *Draft) {
		d.From, d.Subject, d.UTF8Headers = Address{Name: "Jörg, K.", Addr: "jörg@exämple.org"}, "Re: Grüße "+strings.Repeat("überlang ", 30), true
	})
	c, raw := composedRaw(t, d)
	assert.True(t, c.SMTPUTF8)
	assert.Equal(t, "jörg@exämple.org", c.From)
	assert.NotContains(t, raw, "=?")
	for line := range strings.SplitSeq(raw, "\r\n") {
		assert.LessOrEqual(t, len(line), 90)
	}
	p, _, err := parseString(raw)
	require.NoError(t, err)
	assert.Empty(t, codes(p))
	assert.Equal(t, strings.TrimSpace(d.Subject), p.Header.Text("Subject"))
	assert.Equal(t, []Address{d.From}, p.Header.Addresses("From"))

	d.UTF8Headers = false
	_, err = d.Compose()
	require.ErrorIs(t, err, ErrDraft, "such an address is asked for, or refused")
	c, _ = composedRaw(t, draftOf(func(d *Draft) { d.UTF8Headers = true }))
	assert.False(t, c.SMTPUTF8, "plain ASCII can go anywhere")
	for _, bad := range []string{"a\u2028@x.org", "a\u0085b@x.org", "a\xff@x.org", "a@x\u009f.org"} {
		_, err = draftOf(func(d *Draft) { d.UTF8Headers, d.From.Addr = true, bad }).Compose()
		require.ErrorIs(t, err, ErrDraft, "%q", bad)
	}
}

func TestComposeSign(t *testing.T) {
	var signed bytes.Buffer
	c, raw := composedRaw(t, draftOf(func(d *Draft) {
		d.Text = "hello"
		d.Attachments = []Attachment{{Name: "a", Open: stringFile("data")}}
		d.Sign = func(m io.WriterTo) ([]byte, error) {
			_, err := m.WriteTo(&signed)
			return []byte("DKIM-Signature: v=1;\r\n\tb=abc\r\n"), err
		}
	}))
	assert.Equal(t, "DKIM-Signature: v=1;\r\n\tb=abc\r\n"+signed.String(), raw, "the signed bytes are those that are sent")
	var again bytes.Buffer
	_, err := c.WriteTo(&again)
	require.NoError(t, err)
	assert.Equal(t, raw, again.String())

	boom := errors.New("no key")
	_, err = draftOf(func(d *Draft) { d.Sign = func(io.WriterTo) ([]byte, error) { return nil, boom } }).Compose()
	require.ErrorIs(t, err, boom)
	for _, bad := range []string{"X: y", "X: y\r\n\r\n", " x\r\n", "X: y\nZ: q\r\n", "no field\r\n", "X: \xc3\xbc\r\n", "X: y\r\n \r\n"} {
		_, err = draftOf(func(d *Draft) { d.Sign = func(io.WriterTo) ([]byte, error) { return []byte(bad), nil } }).Compose()
		var de *DraftError
		require.ErrorAs(t, err, &de, "%q", bad)
		assert.Equal(t, "Sign", de.Field)
	}
}

func TestComposeSignBody(t *testing.T) {
	for name, data := range map[string]string{"armour": "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n", "binary": "\x30\x80\x00\xff"} {
		var signed bytes.Buffer
		_, raw := composedRaw(t, draftOf(func(d *Draft) {
			d.Text, d.HTML = "hello", "<p>hello"
			d.SignBody = func(m io.WriterTo) (*Signature, error) {
				_, err := m.WriteTo(&signed)
				return &Signature{Protocol: "application/pgp-signature", MicAlg: "pgp-sha256", Name: "signature.asc", Data: []byte(data)}, err
			}
		}))
		p, got, err := parseString(raw)
		require.NoError(t, err)
		assert.Empty(t, codes(p))
		assert.Equal(t, "multipart/signed(multipart/alternative(text/plain,text/html),application/pgp-signature)", outline(p))
		assert.Equal(t, "pgp-sha256", p.Params["micalg"])
		// What the receiver checks is what was signed: Raw gives it.
		part, err := io.ReadAll(p.Children[0].Raw(strings.NewReader(raw)))
		require.NoError(t, err)
		assert.Equal(t, signed.String(), string(part), name)
		assert.Equal(t, data, strings.ReplaceAll(got["2"], "\r\n", "\n"))
	}
	for _, s := range []*Signature{nil, {}, {Protocol: "x", MicAlg: "m", Data: []byte("d")}, {Protocol: "a/b", Data: []byte("d")}, {Protocol: "a/b", MicAlg: "x\r\ny", Data: []byte("d")}} {
		_, err := draftOf(func(d *Draft) { d.SignBody = func(io.WriterTo) (*Signature, error) { return s, nil } }).Compose()
		require.ErrorIs(t, err, ErrDraft)
	}
}

// TestRawPartsAreByteForByte: whatever a part is, its own bytes can be had, as
// S/MIME and PGP need them.
func TestRawPartsAreByteForByte(t *testing.T) {
	member := "Content-Type: text/plain\r\nX-Odd:   blanks  \r\n\r\ntrailing blanks  \r\n=20 stays\r\n-- \r\n"
	raw := "Content-Type: multipart/signed; boundary=b; protocol=\"application/pgp-signature\"; micalg=pgp-sha1\r\n\r\npreamble\r\n--b\r\n" + member +
		"\r\n--b\r\nContent-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n"
	p, got, err := parseString(raw)
	require.NoError(t, err)
	part, err := io.ReadAll(p.Children[0].Raw(strings.NewReader(raw)))
	require.NoError(t, err)
	assert.Equal(t, member, string(part))
	body, err := io.ReadAll(p.Children[1].RawBody(strings.NewReader(raw)))
	require.NoError(t, err)
	assert.Equal(t, "aGVsbG8=", string(body))
	assert.Equal(t, "hello", got["2"])
	whole, err := io.ReadAll(p.Raw(strings.NewReader(raw)))
	require.NoError(t, err)
	assert.Equal(t, raw, string(whole))

	q, _, err := parseString("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAoKaGkK\n")
	require.NoError(t, err)
	assert.Nil(t, q.Children[0].Raw(strings.NewReader("")), "it stands nowhere as it is")
	assert.Nil(t, q.Children[0].RawBody(strings.NewReader("")))
}

// TestComposeNeverMislabels has text and subject read back as they were
// written, in every charset that a draft may ask for; charsets known only for
// reading are refused.
func TestComposeNeverMislabels(t *testing.T) {
	to := Address{Addr: "a@example.com"}
	written := 0
	for name := range charsetAliases {
		for _, text := range []string{"한글 안녕", "日本語", "é à", "plain"} {
			c, err := (&Draft{From: to, To: []Address{to}, Charset: name, Subject: text, Text: text}).Compose()
			if err != nil {
				var de *DraftError
				require.ErrorAs(t, err, &de, name)
				assert.Equal(t, "Charset", de.Field)
				continue
			}
			written++
			var raw bytes.Buffer
			_, err = c.WriteTo(&raw)
			require.NoError(t, err)
			p, got, err := parseString(raw.String())
			require.NoError(t, err)
			assert.Equal(t, text, p.Header.Text("Subject"), name)
			assert.Equal(t, text, strings.TrimSpace(decodeCharset([]byte(got[""]), p.Charset)), "%s as %s", name, p.Charset)
		}
	}
	assert.Greater(t, written, 100)
	for _, name := range []string{"iso-2022-kr", "csISO2022KR", "ISO-2022-CN", "iso-2022-cn-ext", "utf-7"} {
		_, err := (&Draft{From: to, To: []Address{to}, Charset: name}).Compose()
		var de *DraftError
		require.ErrorAs(t, err, &de, name)
		assert.Equal(t, "Charset", de.Field)
	}
}

// TestComposeMessageIDs has own ids that everybody can answer to, and those of
// others kept where the header can hold them.
func TestComposeMessageIDs(t *testing.T) {
	for from, domain := range map[string]string{
		"a@x.org": "x.org", "a@[192.0.2.1]": "localhost", "a@δοκιμή.gr": "xn--jxalpdlp.gr", "a@\u05d0a.org": "localhost", "a@ü_x.org": "localhost",
	} {
		c, _ := composedRaw(t, draftOf(func(d *Draft) { d.From.Addr, d.UTF8Headers = from, true }))
		assert.Regexp(t, `^[a-z2-7]{26}@`+regexp.QuoteMeta(domain)+"$", c.MessageID)
	}
	const foreign = "1@δοκιμή.gr"
	for _, utf8Headers := range []bool{false, true} {
		c, raw := composedRaw(t, draftOf(func(d *Draft) {
			d.UTF8Headers = utf8Headers
			d.InReplyTo, d.References = []string{foreign}, []string{"0@x.org", foreign, "\ufffd@x.org", "a\u2028b@x.org"}
		}))
		assert.Equal(t, utf8Headers, c.SMTPUTF8)
		p, _, err := parseString(raw)
		require.NoError(t, err)
		want := []string{"0@x.org"}
		if utf8Headers {
			want = append(want, foreign)
			assert.Equal(t, []string{foreign}, p.Header.MessageIDs("In-Reply-To"))
		} else {
			assert.False(t, p.Header.Has("In-Reply-To"))
		}
		assert.Equal(t, want, p.Header.MessageIDs("References"))

		own := draftOf(func(d *Draft) { d.UTF8Headers, d.MessageID = utf8Headers, foreign })
		c, err = own.Compose()
		if !utf8Headers {
			require.ErrorIs(t, err, ErrDraft)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, foreign, c.MessageID)
	}
}
