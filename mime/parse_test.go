package mime

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var parseCases = []struct {
	name, in, tree string
	bodies         map[string]string
	defects        []DefectCode
}{
	{"plain", "From: a@b\n\nhello\n", "text/plain", map[string]string{"": "hello\n"}, nil},
	{
		"mixed", "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>\n--b--\nepilogue\n",
		"multipart/mixed(text/plain,text/html)",
		map[string]string{"1": "one", "2": "<p>"},
		nil,
	},
	{"boundary at the very start", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b--", "multipart/mixed(text/plain)", map[string]string{}, nil},
	{
		"nested", "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\na\n--i--\n--o\n\nb\n--o--\n",
		"multipart/mixed(multipart/alternative(text/plain),text/plain)",
		map[string]string{"1.1": "a", "2": "b"},
		nil,
	},
	{
		"message", "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\nSubject: in\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\na\n--i--\n--o--\n",
		"multipart/mixed(message/rfc822(multipart/mixed(text/plain)))",
		map[string]string{"1.1": "a"},
		nil,
	},
	{
		"encoded message", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogaW4KCmJvZHk=\n",
		"message/rfc822(text/plain)",
		map[string]string{"0": "body"},
		[]DefectCode{DefectEncodedContainer},
	},
	{
		"message declared base64 that is not", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nSubject: in\n\nbody",
		"message/rfc822(text/plain)",
		map[string]string{"0": "body"},
		nil,
	},
	{"digest with another type", "Content-Type: multipart/digest; boundary=b\n\n--b\nContent-Type: text/plain\n\nhi\n--b--\n", "multipart/digest(text/plain)", map[string]string{"1": "hi"}, nil},
	{"partial is left alone", "Content-Type: message/partial; id=\"x@y\"; number=1; total=2\n\nSubject: x\n\nhi\n", "message/partial", map[string]string{"": "Subject: x\n\nhi\n"}, nil},
	{"external body is left alone", "Content-Type: message/external-body; access-type=URL; url=\"http://x/\"\n\nContent-Type: image/png\n\nphantom", "message/external-body", map[string]string{"": "Content-Type: image/png\n\nphantom"}, nil},
	{"S/MIME is a file", "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nMIAG\nCSqG\n", "application/pkcs7-mime", map[string]string{"": "\x30\x80\x06\x09\x2a\x86"}, nil},
	{"PGP encrypted", "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b\n\n--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n--b\nContent-Type: application/octet-stream\n\n-----BEGIN PGP MESSAGE-----\n--b--\n", "multipart/encrypted(application/pgp-encrypted,application/octet-stream)", map[string]string{"1": "Version: 1", "2": "-----BEGIN PGP MESSAGE-----"}, nil},
	{"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nhi\n--b--\n", "multipart/digest(message/rfc822(text/plain))", map[string]string{"1.0": "hi"}, nil},
	{"prefix boundaries", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--bb\n--b \t\n\ntwo\n--b--", "multipart/mixed(text/plain,text/plain)", map[string]string{"1": "--bb", "2": "two"}, nil},
	{"no end", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n", "multipart/mixed(text/plain)", map[string]string{"1": "one\n"}, []DefectCode{DefectNoCloseBoundary}},
	{
		"outer boundary ends inner", "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\na\n--o\n\nb\n--o--\n",
		"multipart/mixed(multipart/mixed(text/plain),text/plain)",
		map[string]string{"1.1": "a", "2": "b"},
		[]DefectCode{DefectNoCloseBoundary},
	},
	{"no boundary parameter", "Content-Type: multipart/mixed\n\nbody\n", "multipart/mixed(text/plain)", map[string]string{"1": "body\n"}, []DefectCode{DefectNoBoundary}},
	{"no boundary parameter but delimiters", "Content-Type: multipart/mixed\n\nhello\n--x\nContent-Type: text/html\n\n<p>\n--x\n\ntwo\n--x--\n", "multipart/mixed(text/html,text/plain)", map[string]string{"1": "<p>", "2": "two"}, []DefectCode{DefectNoBoundary}},
	{"no boundary parameter and a signature", "Content-Type: multipart/mixed\n\nhello\n-- \nme\n", "multipart/mixed(text/plain)", map[string]string{"1": "hello\n-- \nme\n"}, []DefectCode{DefectNoBoundary}},
	{"boundary never comes", "Content-Type: multipart/mixed; boundary=b\n\nbody\n", "multipart/mixed(text/plain)", map[string]string{"1": "body\n"}, []DefectCode{DefectNoCloseBoundary, DefectNoStartBoundary}},
	{"delimiter twice", "Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\none\n--b--\n", "multipart/mixed(text/plain)", map[string]string{"1": "one"}, []DefectCode{DefectRepeatedDelimiter}},
	{"delimiter ends header", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b--\n", "multipart/mixed(text/html)", map[string]string{}, []DefectCode{DefectNoBlankLine}},
	{"mbox line", "From a@b Mon Jan  1 00:00:00 2026\nSubject: x\n\nhi", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectMboxFrom}},
	{"junk line", "Subject: x\nthis is no field\nFrom: a@b\n\nhi", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectHeaderLine}},
	{"no blank line", "Subject: x\nHello there\nyou", "text/plain", map[string]string{"": "Hello there\nyou"}, []DefectCode{DefectNoBlankLine}},
	{"folded start", " folded\nSubject: x\n\nhi", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectHeaderFold}},
	{"blank before colon", "Subject : x\n\nhi", "text/plain", map[string]string{"": "hi"}, nil},
	{"bad type", "Content-Type: text\n\nhi", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectContentType}},
	{"commented encoding", "Content-Transfer-Encoding: base64 (really)\n\naGk=", "text/plain", map[string]string{"": "hi"}, nil},
	{"unknown encoding", "Content-Transfer-Encoding: rot13\n\nhi", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectEncoding}},
	{"base64 footer", "Content-Transfer-Encoding: base64\n\naGk=\nA list's footer", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectBase64}},
	{"base64 joined", "Content-Transfer-Encoding: base64\n\naGk=\naGkh\n", "text/plain", map[string]string{"": "hihi!"}, nil},
	{"uuencode", "Content-Transfer-Encoding: x-uuencode\n\nbegin 644 x\n\":&D\n`\nend\n", "text/plain", map[string]string{"": "hi"}, nil},
	{"8-bit header", "Subject: caf\xe9\nContent-Type: text/plain; charset=iso-8859-1\n\nhi", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectHeader8Bit}},
	{"nul", "Subject: a\x00b\n\nhi", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectNUL}},
	{"unsafe name", "Content-Disposition: attachment; filename=\"../x\"\n\nhi", "text/plain", map[string]string{"": "hi"}, []DefectCode{DefectUnsafeName}},
}

func TestParse(t *testing.T) {
	for _, c := range parseCases {
		t.Run(c.name, func(t *testing.T) {
			for how, in := range map[string]string{"LF": c.in, "CRLF": crlf(c.in)} {
				want := map[string]string{}
				for k, v := range c.bodies {
					if how == "CRLF" {
						v = crlf(v)
					}
					want[k] = v
				}
				p, got, err := parseString(in)
				require.NoError(t, err)
				assert.Equal(t, c.tree, outline(p), how)
				assert.Equal(t, want, map[string]string(got), how)
				assert.ElementsMatch(t, c.defects, codes(p), how)
				checkOffsets(t, in, p, got)

				got = bodies{}
				q, err := Parse(iotest.OneByteReader(strings.NewReader(in)), got)
				require.NoError(t, err)
				assert.Equal(t, outline(p), outline(q))
				assert.Equal(t, want, map[string]string(got), how+", byte by byte")
			}
		})
	}
}

// checkOffsets asserts that the raw bytes of every leaf can be found again.
func checkOffsets(t *testing.T, in string, p *Part, got bodies) {
	for q := range p.All() {
		if q.Offset < 0 {
			continue
		}
		require.LessOrEqual(t, q.Offset, q.BodyOffset)
		require.LessOrEqual(t, q.BodyOffset+q.RawSize, int64(len(in)))
		if len(q.Children) > 0 {
			continue
		}
		raw := in[q.BodyOffset : q.BodyOffset+q.RawSize]
		if dec := newDecoder(q.Encoding); dec != nil {
			out := dec.decode(nil, []byte(raw))
			raw = string(dec.finish(out))
		}
		assert.Equal(t, got[q.Path], raw)
		assert.EqualValues(t, len(raw), q.Size)
	}
}

func TestParseCROnly(t *testing.T) {
	in := strings.ReplaceAll("Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\ntwo\n--b--\n", "\n", "\r")
	p, got, err := parseString(in)
	require.NoError(t, err)
	assert.Equal(t, "multipart/mixed(text/plain)", outline(p))
	assert.Equal(t, "one\ntwo", got["1"])
	assert.Equal(t, "x", p.Header.Text("Subject"))
	assert.Equal(t, []DefectCode{DefectLineEnding}, codes(p))
}

func TestHeaderControls(t *testing.T) {
	p, _, err := parseString("Subject: a\rBcc: v@x\x1b[2J\nX: a\r\n b\r c\n\nhi")
	require.NoError(t, err)
	assert.Equal(t, []DefectCode{DefectLineEnding, DefectHeaderControl}, codes(p))
	assert.Equal(t, "a Bcc: v@x [2J", p.Header.Text("Subject"))
	assert.NotContains(t, p.Header.Get("Subject"), "\r", "a raw value is one line too")
	assert.Equal(t, "a b  c", p.Header.Get("X"))
}

// A delimiter must be found wherever the edge of a block falls.
func TestParseBlockEdges(t *testing.T) {
	for pad := blockSize - 120; pad < blockSize+20; pad++ {
		body := strings.Repeat("x", pad)
		in := "Content-Type: multipart/mixed; boundary=bound\r\n\r\n--bound\r\n\r\n" + body + "\r\n--bound\r\n\r\ntwo\r\n--bound--\r\n"
		p, got, err := parseString(in)
		require.NoError(t, err)
		require.Len(t, p.Children, 2, "pad %d", pad)
		require.Len(t, got["1"], pad)
		require.Equal(t, "two", got["2"])
	}
}

func TestParseLongPreamble(t *testing.T) {
	pre := strings.Repeat("not a preamble\n", 10_000)
	p, got, err := parseString("Content-Type: multipart/mixed; boundary=b\n\n" + pre + "--b\n\nreal\n--b--\n")
	require.NoError(t, err)
	assert.Equal(t, "multipart/mixed(text/plain,text/plain)", outline(p))
	assert.Equal(t, strings.TrimSuffix(pre, "\n"), got["1"], "text is never thrown away because it is long")
	assert.Equal(t, "real", got["2"])
}

// A container that the sink wants whole is not descended into.
type wholeSink struct {
	typ  string
	got  bytes.Buffer
	seen []string
}

func (s *wholeSink) Begin(p *Part) (io.Writer, error) {
	s.seen = append(s.seen, p.Type)
	if p.Type == s.typ {
		return &s.got, nil
	}
	return nil, nil
}
func (s *wholeSink) End(*Part) error { return nil }

func TestParseContainerWhole(t *testing.T) {
	s := &wholeSink{typ: "message/rfc822"}
	p, err := Parse(strings.NewReader("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogaW4KCmJvZHk=\n--b--\n"), s)
	require.NoError(t, err)
	assert.Equal(t, "Subject: in\n\nbody", s.got.String())
	assert.Equal(t, []string{"multipart/mixed", "message/rfc822"}, s.seen)
	assert.Empty(t, p.Children[0].Children)
	s = &wholeSink{typ: "multipart/alternative"}
	_, err = Parse(strings.NewReader("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\nx\n--c--\n--b--\n"), s)
	require.NoError(t, err)
	assert.Equal(t, "--c\n\nx\n--c--", s.got.String())
}

type failSink struct{ begin, end, write error }

func (s failSink) Begin(*Part) (io.Writer, error) { return s, s.begin }
func (s failSink) End(*Part) error                { return s.end }
func (s failSink) Write(p []byte) (int, error)    { return len(p), s.write }

func TestParseErrors(t *testing.T) {
	boom := errors.New("boom")
	for _, s := range []failSink{{begin: boom}, {end: boom}, {write: boom}} {
		p, err := Parse(strings.NewReader("Subject: x\n\nhi"), s)
		require.ErrorIs(t, err, boom)
		require.Equal(t, "x", p.Header.Get("subject"), "the tree comes with the error")
	}
	p, err := Parse(io.MultiReader(strings.NewReader("Subject: x\n\nhi"), iotest.ErrReader(boom)), nil)
	require.ErrorIs(t, err, boom)
	assert.Equal(t, "x", p.Header.Get("subject"))
	assert.EqualValues(t, 2, p.Size)
	_, err = Parse(stuckReader{}, nil)
	require.ErrorIs(t, err, io.ErrNoProgress)
}

type stuckReader struct{}

func (stuckReader) Read([]byte) (int, error) { return 0, nil }

func TestParseLimits(t *testing.T) {
	nest := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString("Content-Type: message/rfc822\n\n")
		}
		return b.String()
	}
	cases := []struct {
		limit string
		l     Limits
		in    string
	}{
		{"HeaderBytes", Limits{HeaderBytes: 100}, strings.Repeat("A: b\n", 100)},
		{"HeaderFields", Limits{HeaderFields: 10}, strings.Repeat("A: b\n", 11)},
		{"LineBytes", Limits{LineBytes: 50}, "A: " + strings.Repeat("b", 100)},
		{"LineBytes", Limits{}, "A: " + strings.Repeat("b", DefaultLineBytes)},
		{"AllHeaderBytes", Limits{AllHeaderBytes: 150}, nest(4)},
		{"AllHeaderBytes", Limits{AllHeaderBytes: 150}, strings.Repeat("A:\n", 9)},
		{"Depth", Limits{Depth: 3}, nest(4)},
		{"Parts", Limits{Parts: 3}, "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 5)},
		{"DecodedBytes", Limits{DecodedBytes: 10}, "\n" + strings.Repeat("x", 11)},
	}
	for _, c := range cases {
		p, _, err := parseString(c.in, WithLimits(c.l))
		var le *LimitError
		require.ErrorAs(t, err, &le, c.limit)
		assert.Equal(t, c.limit, le.Limit)
		assert.ErrorIs(t, err, ErrLimit)
		require.NotNil(t, p)
		all := Limits{-1, -1, -1, -1, -1, -1, -1}
		_, _, err = parseString(c.in, WithLimits(all))
		assert.NoError(t, err, "a negative limit is none")
	}
}

// TestLineEndsDoNotDependOnReads: what ends the lines is settled by the same
// bytes, whether they come at once or one by one.
func TestLineEndsDoNotDependOnReads(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		fields int
	}{
		"CR, LF far below":         {"A: 1\rB: " + strings.Repeat("x", sniffSize) + "\rC: 3\r\rbody\nmore\n", 3},
		"CRLF across the edge":     {"A: " + strings.Repeat("x", sniffSize-4) + "\r\nB: 2\r\n\r\nbody\r\n", 2},
		"CRLF behind the edge":     {"A: " + strings.Repeat("x", sniffSize-3) + "\r\nB: 2\r\n\r\nbody\r\n", 2},
		"CR in a line, LF at last": {"A: 1\rB: " + strings.Repeat("x", sniffSize-9) + "\nC: 3\n\nbody\n", 2},
	} {
		whole, again := bodies{}, bodies{}
		p, err := Parse(strings.NewReader(c.in), whole)
		require.NoError(t, err)
		assert.Equal(t, c.fields, p.Header.Len(), name)
		p, err = Parse(iotest.OneByteReader(strings.NewReader(c.in)), again)
		require.NoError(t, err)
		assert.Equal(t, c.fields, p.Header.Len(), name)
		assert.Equal(t, whole, again, name)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range parseCases {
		f.Add([]byte(c.in))
		f.Add([]byte(crlf(c.in)))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, again := bodies{}, bodies{}
		p, err := Parse(bytes.NewReader(in), whole)
		require.NotNil(t, p)
		if err != nil {
			require.ErrorIs(t, err, ErrLimit)
			return
		}
		q, err := Parse(iotest.OneByteReader(bytes.NewReader(in)), again)
		require.NoError(t, err)
		require.Equal(t, outline(p), outline(q))
		require.Equal(t, whole, again, "the result depends on how the bytes came")
		for part := range p.All() {
			h := part.Header
			for fld := range h.Fields() {
				require.NotContains(t, h.Text(fld.Name), "\n")
				h.Addresses(fld.Name)
				h.Date(fld.Name)
				h.MessageIDs(fld.Name)
			}
			if part.Offset >= 0 {
				require.LessOrEqual(t, part.BodyOffset+part.RawSize, int64(len(in)))
			}
			require.NotEmpty(t, SynthesizedName(part))
		}
	})
}
