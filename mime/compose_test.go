package mime

import (
	"bytes"
	"errors"
	"io"
	"net/mail"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func stringFile(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

func composed(t require.TestingT, d *Draft) (string, *Composed) {
	c, err := d.Compose()
	require.NoError(t, err)
	var b bytes.Buffer
	n, err := c.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	return b.String(), c
}

// checkWire asserts what every composed message promises.
func checkWire(t require.TestingT, s string) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 0x80 || c == 0:
			require.Failf(t, "not 7-bit", "byte %#x at %d", c, i)
		case c == '\n' && (i == 0 || s[i-1] != '\r'):
			require.Failf(t, "bare LF", "at %d", i)
		case c == '\r' && (i+1 == len(s) || s[i+1] != '\n'):
			require.Failf(t, "bare CR", "at %d", i)
		}
	}
	head := true
	for line := range strings.SplitSeq(s, "\r\n") {
		require.LessOrEqual(t, len(line), maxLine)
		head = head && line != ""
		if head {
			require.NotEmpty(t, strings.TrimSpace(line), "a header line of blanks alone")
		}
	}
}

func TestComposeShapes(t *testing.T) {
	from, to := Address{Addr: "a@example.com"}, []Address{{Name: "Bé", Addr: "b@example.com"}}
	file := Attachment{Name: "x.bin", Open: stringFile("\x00\xff")}
	inline := Attachment{Name: "p.png", Type: "image/png", ContentID: "p1@x", Inline: true, Open: stringFile("png")}
	cases := []struct {
		name  string
		draft Draft
		want  string
	}{
		{"empty", Draft{}, "text/plain"},
		{"text", Draft{Text: "hi"}, "text/plain"},
		{"html", Draft{HTML: "<p>hi"}, "text/html"},
		{"both", Draft{Text: "hi", HTML: "<p>hi"}, "multipart/alternative(text/plain,text/html)"},
		{"file", Draft{Text: "hi", Attachments: []Attachment{file}}, "multipart/mixed(text/plain,application/octet-stream)"},
		{
			"all",
			Draft{Text: "hi", HTML: "<img src=cid:p1@x>", Attachments: []Attachment{file, inline}},
			"multipart/mixed(multipart/alternative(text/plain,multipart/related(text/html,image/png)),application/octet-stream)",
		},
		{"inline without html", Draft{Text: "hi", Attachments: []Attachment{inline}}, "multipart/mixed(text/plain,image/png)"},
		{
			"message",
			Draft{Text: "fw", Attachments: []Attachment{{Name: "m.eml", Type: "message/rfc822", Open: stringFile("Subject: in\n\nbody\n")}}},
			"multipart/mixed(text/plain,message/rfc822(text/plain))",
		},
		{
			"8-bit message",
			Draft{Text: "fw", Attachments: []Attachment{{Name: "m.eml", Type: "message/rfc822", Open: stringFile("Subject: in\n\nbod\xe9\n")}}},
			"multipart/mixed(text/plain,application/octet-stream)",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.draft.From, c.draft.To = from, to
			s, _ := composed(t, &c.draft)
			checkWire(t, s)
			p, _, err := parseString(s)
			require.NoError(t, err)
			assert.Equal(t, c.want, outline(p))
			assert.Empty(t, codes(p))
			_, err = mail.ReadMessage(strings.NewReader(s))
			assert.NoError(t, err, "the standard library reads it too")
		})
	}
}

func TestComposeFields(t *testing.T) {
	d := &Draft{
		From: Address{Name: "Grüße, Müller", Addr: "a@example.com"}, Sender: Address{Addr: "s@example.com"},
		ReplyTo: []Address{{Addr: "r@example.com"}},
		To:      []Address{{Name: "Smith, J. (x)", Addr: "b@example.com"}, {Addr: "B@EXAMPLE.com"}, {Addr: "b@Example.COM"}},
		Cc:      []Address{{Name: strings.Repeat("长", 60), Addr: `"q q"@example.com`}},
		Bcc:     []Address{{Name: "Hidden", Addr: "secret@example.net"}, {Addr: "b@example.com"}},
		Subject: "Ünïcode " + strings.Repeat("word ", 40), Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", -3600)),
		MessageID: "id@x", InReplyTo: []string{"p@x"}, References: []string{"o@x", "bad id with blanks", "p@x"},
		Text: "From here\nö\n", AutoSubmitted: "auto-replied",
		Header:      []Field{{"X-Priority", "1"}, {"X-Long", strings.Repeat("a b  c ", 30)}},
		Attachments: []Attachment{{Name: strings.Repeat("длинное имя ", 8) + ".pdf", Type: "application/pdf", Open: stringFile("%PDF")}},
	}
	s, c := composed(t, d)
	checkWire(t, s)
	assert.Equal(t, "id@x", c.MessageID)
	assert.Equal(t, "s@example.com", c.From)
	assert.Equal(t, []string{"b@example.com", "B@EXAMPLE.com", `"q q"@example.com`, "secret@example.net"}, c.Recipients)
	assert.NotContains(t, s, "secret")
	assert.NotContains(t, strings.ToLower(s), "\nbcc:")
	for line := range strings.SplitSeq(s[:strings.Index(s, "\r\n\r\n")], "\r\n") {
		assert.LessOrEqual(t, len(line), foldColumn, line)
	}
	p, content, err := parseString(s)
	require.NoError(t, err)
	h := p.Header
	assert.Equal(t, []Address{d.From}, h.Addresses("From"))
	assert.Equal(t, d.To, h.Addresses("To"))
	assert.Equal(t, d.Cc, h.Addresses("Cc"))
	assert.Equal(t, strings.TrimSpace(d.Subject), h.Text("Subject"))
	assert.Equal(t, strings.TrimSpace(d.Header[1].Value), h.Get("X-Long"))
	assert.Equal(t, []string{"o@x", "badidwithblanks", "p@x"}, h.MessageIDs("References"))
	date, ok := h.Date("Date")
	assert.True(t, ok && date.Equal(d.Date))
	assert.Equal(t, d.Attachments[0].Name, p.Children[1].Name)
	assert.Equal(t, "From here\r\nö\r\n", content["1"])
	assert.NotContains(t, s, "\r\nFrom here", "mbox stores would change it")
	again := &bytes.Buffer{}
	_, err = c.WriteTo(again)
	require.NoError(t, err)
	assert.Equal(t, s, again.String(), "the same bytes each time")
}

func TestComposeQuotesLocalParts(t *testing.T) {
	d := &Draft{From: Address{Addr: "a@x.org"}, To: []Address{{Addr: "b..c.@x.org"}}}
	s, c := composed(t, d)
	assert.Equal(t, []string{`"b..c."@x.org`}, c.Recipients)
	assert.Contains(t, s, "\r\nTo: \"b..c.\"@x.org\r\n")
	assert.Equal(t, "b..c.@x.org", d.To[0].Addr, "the draft stays as it is")
}

func TestComposeRefuses(t *testing.T) {
	ok := Draft{From: Address{Addr: "a@x.org"}, To: []Address{{Addr: "b@x.org"}}}
	cases := []struct {
		field  string
		change func(*Draft)
	}{
		{"From", func(d *Draft) { d.From = Address{} }},
		{"From", func(d *Draft) { d.From.Addr = "nobody" }},
		{"To", func(d *Draft) { d.To = nil }},
		{"To[0]", func(d *Draft) { d.To[0].Addr = "b@x.org\r\nBcc: v@x" }},
		{"To[0]", func(d *Draft) { d.To[0].Addr = "b@x.org,c@x.org" }},
		{"Bcc[0]", func(d *Draft) { d.Bcc = []Address{{Addr: "b@x.org> SIZE=1"}} }},
		{"Cc[0]", func(d *Draft) { d.Cc = []Address{{Addr: "ü@x.org"}} }},
		{"Sender", func(d *Draft) { d.Sender = Address{Name: "x"} }},
		{"MessageID", func(d *Draft) { d.MessageID = "a b@x" }},
		{"Header[0]", func(d *Draft) { d.Header = []Field{{"X-A: b\r\nX-B", "v"}} }},
		{"Header[0]", func(d *Draft) { d.Header = []Field{{"", "v"}} }},
		{"Header[0]", func(d *Draft) { d.Header = []Field{{"bCC", "v"}} }},
		{"Header[0]", func(d *Draft) { d.Header = []Field{{"Content-Type", "v"}} }},
		{"Attachments[0].Open", func(d *Draft) { d.Attachments = []Attachment{{}} }},
		{"Attachments[0].Type", func(d *Draft) {
			d.Attachments = []Attachment{{Type: "multipart/mixed", Open: stringFile("")}}
		}},
		{"Attachments[0].ContentID", func(d *Draft) { d.Attachments = []Attachment{{ContentID: "ü", Open: stringFile("")}} }},
	}
	for _, c := range cases {
		d := ok
		d.To = append([]Address(nil), ok.To...)
		c.change(&d)
		_, err := d.Compose()
		var de *DraftError
		require.ErrorAs(t, err, &de, c.field)
		assert.Equal(t, c.field, de.Field)
		require.ErrorIs(t, err, ErrDraft)
		assert.NotContains(t, err.Error(), "\n")
	}
}

func TestComposeAttachmentErrors(t *testing.T) {
	boom := errors.New("disk gone")
	d := &Draft{From: Address{Addr: "a@x.org"}, To: []Address{{Addr: "b@x.org"}}, Attachments: []Attachment{
		{Open: func() (io.ReadCloser, error) { return nil, boom }},
	}}
	c, err := d.Compose()
	require.NoError(t, err, "attachments are opened by WriteTo")
	_, err = c.WriteTo(io.Discard)
	require.ErrorIs(t, err, boom)
	assert.ErrorContains(t, err, "Attachments[0]")
	d.Attachments[0].Type = "message/rfc822"
	_, err = d.Compose()
	require.ErrorIs(t, err, boom)
	calls := 0
	d.Attachments[0].Open = func() (io.ReadCloser, error) {
		calls++
		return io.NopCloser(strings.NewReader(strings.Repeat("\xff", calls-1))), nil
	}
	c, err = d.Compose()
	require.NoError(t, err)
	_, err = c.WriteTo(io.Discard)
	require.ErrorIs(t, err, errNotSevenBit)
}

// TestA14HeaderInjection feeds line ends and their look-alikes into every text
// of a draft: the header must keep its fields.
func TestA14HeaderInjection(t *testing.T) {
	base := func(evil string) *Draft {
		return &Draft{
			From: Address{Name: "n" + evil, Addr: "a@x.org"}, To: []Address{{Name: "m" + evil, Addr: "b@x.org"}}, Subject: "s" + evil,
			InReplyTo: []string{"i" + evil + "@x"}, References: []string{"r" + evil + "@x"}, AutoSubmitted: "auto-replied" + evil,
			Header: []Field{{"X-Thing", "v" + evil}}, Text: "t", MessageID: "id@x", HTML: "<p>",
			Attachments: []Attachment{{Name: "f" + evil, ContentID: "c@x", Inline: true, Type: "text/plain; charset=\"u" + evil + "\"", Open: stringFile("x")}},
		}
	}
	plain, _ := composed(t, base(""))
	want, _, err := parseString(plain)
	require.NoError(t, err)
	for _, evil := range []string{
		"\r\nBcc: v@x", "\nBcc: v@x", "\rBcc: v@x", "\x00", "\r\n\r\nbody", "\u2028Bcc: v@x", "\u2029", "\u0085Bcc: v@x", "\v\f", "\"; x=\"y", "<>,;:\\\"()",
		DecodeText("=?utf-8?q?=0D=0ABcc:_v@x?="), "=?utf-8?q?=0D=0ABcc:_v@x?=", "\xe5\x98\x8d\xe5\x98\x8a", "\xff\xfe", strings.Repeat("x", 3000), strings.Repeat(" ", 3000) + "x",
	} {
		s, _ := composed(t, base(evil))
		checkWire(t, s)
		got, _, err := parseString(s)
		require.NoError(t, err)
		assert.Equal(t, outline(want), outline(got), "%q", evil)
		for w, g := want, got; ; {
			names, gnames := fieldNames(w), fieldNames(g)
			assert.Equal(t, names, gnames, "%q", evil)
			if len(w.Children) == 0 || len(g.Children) == 0 {
				break
			}
			w, g = w.Children[len(w.Children)-1], g.Children[len(g.Children)-1]
		}
		assert.Equal(t, "b@x.org", got.Header.Addresses("To")[0].Addr)
		assert.Len(t, got.Header.Addresses("To"), 1)
	}
}

// fieldNames leaves out the fields that vanish when their ids can't be written.
func fieldNames(p *Part) []string {
	var names []string
	for f := range p.Header.Fields() {
		if f.Name != "In-Reply-To" && f.Name != "References" {
			names = append(names, f.Name)
		}
	}
	return names
}

// TestComposeRoundTrip composes generated drafts and reads them back.
func TestComposeRoundTrip(t *testing.T) {
	text := rapid.StringOf(rapid.RuneFrom([]rune("abz 09.,;:\"\\()<>@=?_\r\n\tüß漢字😀'%*")))
	rapid.Check(t, func(t *rapid.T) {
		d := &Draft{
			From: Address{Name: text.Draw(t, "from"), Addr: "a@x.org"}, To: []Address{{Name: text.Draw(t, "to"), Addr: "b@x.org"}},
			Subject: text.Draw(t, "subject"), Text: text.Draw(t, "text"), HTML: text.Draw(t, "html"),
		}
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		d.Attachments = []Attachment{{Name: text.Draw(t, "name"), Open: stringFile(string(data))}}
		s, _ := composed(t, d)
		checkWire(t, s)
		p, content, err := parseString(s)
		require.NoError(t, err)
		for q := range p.All() {
			for _, x := range q.Defects {
				require.Equal(t, DefectUnsafeName, x.Code)
			}
		}
		clean := func(s string) string { return strings.Join(strings.Fields(cleanText(s)), " ") }
		require.Equal(t, clean(d.Subject), clean(p.Header.Text("Subject")))
		require.Equal(t, clean(d.From.Name), clean(p.Header.Addresses("From")[0].Name))
		require.Equal(t, clean(d.To[0].Name), clean(p.Header.Addresses("To")[0].Name))
		last := p.Children[len(p.Children)-1]
		require.Equal(t, clean(d.Attachments[0].Name), clean(last.Name))
		require.Equal(t, string(data), content[last.Path])
		if d.Text != "" {
			norm := strings.NewReplacer("\r\n", "\n", "\r", "\n")
			path := "1"
			if d.HTML != "" {
				path = "1.1"
			}
			require.Equal(t, strings.TrimRight(norm.Replace(d.Text), "\n"), strings.TrimRight(norm.Replace(content[path]), "\n"))
		}
	})
}

func FuzzComposeParse(f *testing.F) {
	f.Add("name", "subject", "text", "file.txt", []byte("data"))
	f.Add("Ä, \"b\"", "=?utf-8?q?x?=", "From x\r.\r\n", "ü\r\nx: y", []byte{0, 255})
	f.Fuzz(func(t *testing.T, name, subject, text, file string, data []byte) {
		d := &Draft{
			From: Address{Name: name, Addr: "a@x.org"}, To: []Address{{Addr: "b@x.org"}}, Subject: subject, Text: text,
			Attachments: []Attachment{{Name: file, Open: stringFile(string(data))}}, MessageID: "i@x",
		}
		s, _ := composed(t, d)
		checkWire(t, s)
		p, content, err := parseString(s)
		require.NoError(t, err)
		require.Equal(t, string(data), content["2"])
		require.Len(t, p.Header.Addresses("From"), 1)
		require.Equal(t, strings.Join(strings.Fields(cleanText(subject)), " "), strings.Join(strings.Fields(p.Header.Text("Subject")), " "))
	})
}

// TestA10NothingRaw: bodies that smuggle commands or break transports leave
// re-encoded, never as they are.
func TestA10NothingRaw(t *testing.T) {
	for name, text := range map[string]string{
		"A09 bare LF":    "a\n.\nMAIL FROM:<v@x>\n.\r\nb",
		"A10 bare CR":    "a\r.\rMAIL FROM:<v@x>\r\r\n.\r\nb",
		"A11 NUL":        "a\x00b",
		"A11 8-bit":      "é\xff",
		"A11 long line":  strings.Repeat("x", 5000),
		"A11 escape":     "\x1b[2J",
		"trailing blank": "sig \n-- \nme",
		"all dots":       strings.Repeat(".\r\n", 100),
		"From lines":     strings.Repeat("From x\n", 10) + "é",
	} {
		t.Run(name, func(t *testing.T) {
			d := &Draft{From: Address{Addr: "a@x.org"}, To: []Address{{Addr: "b@x.org"}}, Text: text, HTML: text}
			s, _ := composed(t, d)
			checkWire(t, s)
			_, content, err := parseString(s)
			require.NoError(t, err)
			want := strings.ReplaceAll(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n"), "\r", "\n")
			if !strings.HasSuffix(want, "\n") {
				want += "\n"
			}
			assert.Equal(t, crlf(want), content["1"])
			assert.Equal(t, crlf(want), content["2"])
		})
	}
}

// Composing and reading a large file takes a few buffers of memory.
func TestComposeStreams(t *testing.T) {
	const size = 24 << 20
	d := &Draft{From: Address{Addr: "a@x.org"}, To: []Address{{Addr: "b@x.org"}}, Attachments: []Attachment{{Name: "big", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(&repeatReader{block: bytes.Repeat([]byte("0123456789abcdef"), 1<<10), n: size >> 14}), nil
	}}}}
	c, err := d.Compose()
	require.NoError(t, err)
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		_, err := c.WriteTo(pw)
		done <- errors.Join(err, pw.Close())
	}()
	p, err := Parse(pr, discardSink{})
	require.NoError(t, err)
	require.NoError(t, <-done)
	runtime.ReadMemStats(&after)
	assert.EqualValues(t, size, p.Children[1].Size)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
}
