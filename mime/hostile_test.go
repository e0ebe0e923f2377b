package mime

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A hostile family makes input of about n bytes. The numbers are those of the
// attack list that the project keeps.
var hostile = []struct {
	name string
	make func(n int) string
}{
	{"A38 nested multiparts", func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			b.WriteString("Content-Type: multipart/mixed; boundary=b" + strings.Repeat("x", i%7) + "\n\n--b" + strings.Repeat("x", i%7) + "\n")
		}
		return b.String()
	}},
	{"A38 nested messages", func(n int) string { return strings.Repeat("Content-Type: message/rfc822\n\n", n/30) }},
	{"A38 blank lines", func(n int) string { return strings.Repeat("\n", n) + "Subject: x\n\nhi" }},
	{"A39 empty parts", func(n int) string {
		return "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\n", n/5)
	}},
	{"A39 delimiters only", func(n int) string {
		return "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n", n/4)
	}},
	{"A39 near delimiters", func(n int) string {
		return "Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 900) + "\n\n" + strings.Repeat("--"+strings.Repeat("b", 899)+"\n", n/902)
	}},
	{"A39 dashes", func(n int) string {
		return "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("\n--", n/3)
	}},
	{"A40 many fields", func(n int) string { return strings.Repeat("Received: x\n", n/12) }},
	{"A40 giant line", func(n int) string { return "Subject: " + strings.Repeat("x", n) }},
	{"A40 folds", func(n int) string { return "Subject: x" + strings.Repeat("\n x", n/3) }},
	{"A40 junk lines", func(n int) string { return "Subject: x\n" + strings.Repeat("junk\nX-A: b\n", n/12) }},
	{"A41 comments", func(n int) string { return "From: " + strings.Repeat("(", n) + "\n\n" }},
	{"A41 closed comments", func(n int) string { return "From: " + strings.Repeat("()", n/2) + "\n\n" }},
	{"A41 comments in brackets", func(n int) string {
		return "From: <" + strings.Repeat("()", n/4) + strings.Repeat("(", n/2) + "@x>\n\n"
	}},
	{"A41 brackets", func(n int) string { return "From: " + strings.Repeat("<", n) + "\n\n" }},
	{"A41 literals", func(n int) string { return "From: " + strings.Repeat("a@[", n/3) + "\n\n" }},
	{"A41 spaced literals", func(n int) string { return "From: " + strings.Repeat("[ ", n/2) + "\n\n" }},
	{"A41 quotes", func(n int) string { return "From: " + strings.Repeat("\"a\" ", n/4) + "\"\n\n" }},
	{"A41 commas", func(n int) string { return "From: " + strings.Repeat("a,", n/2) + "\n\n" }},
	{"A41 words", func(n int) string { return "From: " + strings.Repeat("a ", n/2) + "\n\n" }},
	{"A41 at signs", func(n int) string { return "From: " + strings.Repeat("a@ ", n/3) + "\n\n" }},
	{"A41 groups", func(n int) string { return "From: " + strings.Repeat("a:", n/2) + "\n\n" }},
	{"A41 words without end", func(n int) string { return "Subject: " + strings.Repeat("=?x?q?", n/6) + "\n\n" }},
	{"A41 words with text", func(n int) string { return "Subject: " + strings.Repeat("=?x?q?a ", n/8) + "\n\n" }},
	{"A41 word starts", func(n int) string { return "Subject: " + strings.Repeat("=?", n/2) + "\n\n" }},
	{"A41 short words", func(n int) string { return "Subject: " + strings.Repeat("=?utf-8?b?QQ==?= ", n/17) + "\n\n" }},
	{"A41 charsets", func(n int) string {
		return "Subject: " + strings.Repeat("=?big5?q?=A4?==?gb2312?q?=D6?=", n/30) + "\n\n"
	}},
	{"A41 padding", func(n int) string { return "Subject: =?utf-8?b?" + strings.Repeat("QQ==", n/4) + "?=\n\n" }},
	{"A41 parameters", func(n int) string { return "Content-Type: a/b" + strings.Repeat("; a=b", n/5) + "\n\n" }},
	{"A41 pieces", func(n int) string { return "Content-Type: a/b" + strings.Repeat("; a*0=b", n/7) + "\n\n" }},
	{"A41 parameter comments", func(n int) string { return "Content-Type: a/b; " + strings.Repeat("(;", n/2) + "\n\n" }},
	{"A41 encoding comments", func(n int) string { return "Content-Transfer-Encoding: " + strings.Repeat("()(", n/3) + "\n\n" }},
	{"A41 ids", func(n int) string { return "References: " + strings.Repeat("<a", n/2) + "\n\n" }},
	{"A41 date", func(n int) string { return "Date: " + strings.Repeat("(", n) + "\n\n" }},
	{"A43 base64 padding", func(n int) string {
		return "Content-Transfer-Encoding: base64\n\n" + strings.Repeat("QQ==\n", n/5)
	}},
	{"A43 base64 junk", func(n int) string { return "Content-Transfer-Encoding: base64\n\n" + strings.Repeat("!Q", n/2) }},
	{"A43 quoted-printable", func(n int) string {
		return "Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("= ", n/2)
	}},
	{"A43 blanks", func(n int) string {
		return "Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat(" ", n)
	}},
	{"A43 begin lines", func(n int) string { return "X: y\n\n" + strings.Repeat("begin 644 x\n", n/12) }},
	{"A43 begin without end", func(n int) string { return "X: y\n\n" + strings.Repeat("begin ", n/6) }},
	{"A43 yEnc lines", func(n int) string {
		return "X: y\n\n=ybegin line=1 size=1 name=x\n" + strings.Repeat("=y\n", n/3)
	}},
	{"A43 yEnc in one line", func(n int) string { return "X: y\n\n=ybegin line=1 size=1 name=x\n" + strings.Repeat("=", n) }},
	{"A43 RTF groups", func(n int) string { return hostileRTF(strings.Repeat("{", n)) }},
	{"A43 RTF fonts", func(n int) string { return hostileRTF("{\\fonttbl" + strings.Repeat("\\f1\\fcharset2", n/13)) }},
	{"A43 TNEF properties", func(n int) string {
		return "Content-Type: application/ms-tnef\n\n" + string(tnefStream(tnefAttr(1, 0x00069003, append([]byte("\xff\xff\xff\xff"), bytes.Repeat([]byte("\x02\x01\x01\x01\x00\x00\x00\x00"), n/8)...))))
	}},
	{"A43 TNEF attributes", func(n int) string {
		return "Content-Type: application/ms-tnef\n\n" + string(tnefStream(bytes.Repeat(tnefAttr(2, 0x00069002, nil), n/11)))
	}},
	{"A43 uuencode", func(n int) string { return "Content-Transfer-Encoding: uuencode\n\n" + strings.Repeat("!\n", n/2) }},
}

func hostileRTF(s string) string {
	return "Content-Type: application/ms-tnef\n\n" + string(tnefStream(tnefAttr(1, 0x00069003, mapiProps(mapiVar(propRTF, mapiBinary, rtfPlain("{\\rtf1 "+s))))))
}

// useAll asks a tree for everything it can tell.
func useAll(p *Part) {
	h := p.Header
	_, _, _ = h.Text("Subject"), h.Addresses("From"), h.MessageIDs("References")
	h.Date("Date")
	for f := range h.Fields() {
		_ = f.Value
	}
}

func hostileTime(s string) time.Duration {
	best := time.Hour
	for range 3 {
		start := time.Now()
		p, _ := Parse(strings.NewReader(s), nil, WithExpansion())
		useAll(p)
		best = min(best, time.Since(start))
	}
	return best
}

// TestA41HostileIsLinear doubles hostile input twice; quadratic work would take
// sixteen times as long.
func TestA41HostileIsLinear(t *testing.T) {
	for _, f := range hostile {
		t.Run(f.name, func(t *testing.T) {
			const n = 40_000 // four times as much is still below the limit on a header line
			small, large := f.make(n), f.make(4*n)
			var a, b time.Duration
			for range 8 { // a busy machine may disturb some measurements, not all
				a, b = hostileTime(small), hostileTime(large)
				if b < 9*a+2*time.Millisecond {
					return
				}
			}
			t.Errorf("%v for %d bytes, %v for %d", a, len(small), b, len(large))
		})
	}
}

func TestA38DepthBomb(t *testing.T) {
	for name, in := range map[string]string{
		"multiparts": strings.Repeat("Content-Type: multipart/mixed; boundary=b\n\n--b\n", 100_000),
		"messages":   strings.Repeat("Content-Type: message/rfc822\n\n", 100_000),
		"encoded":    strings.Repeat("Content-Type: message/rfc822\nContent-Transfer-Encoding: x-uuencode\n\n", 100_000),
	} {
		start := time.Now()
		p, err := Parse(strings.NewReader(in), nil)
		var le *LimitError
		require.ErrorAs(t, err, &le, name)
		assert.Equal(t, "Depth", le.Limit)
		assert.EqualValues(t, DefaultDepth, le.Max)
		depth := 0
		for q := p; len(q.Children) > 0; q = q.Children[0] {
			depth++
		}
		assert.Equal(t, DefaultDepth+1, depth, "%s: the tree so far", name)
		assert.Less(t, time.Since(start), 5*time.Second)
	}
	p, err := Parse(strings.NewReader(strings.Repeat("\n", 100_000)+"Subject: x\n\nhi"), nil)
	require.NoError(t, err)
	assert.Equal(t, []DefectCode{DefectNoHeader}, codes(p), "an empty header, all else is body")
}

func TestA39PartFlood(t *testing.T) {
	for name, in := range map[string]string{
		"empty parts":       strings.Repeat("--b\n\n\n", 1_000_000),
		"parts with header": strings.Repeat("--b\nContent-Type: a/b\n\n", 300_000),
	} {
		_, err := Parse(strings.NewReader("Content-Type: multipart/mixed; boundary=b\n\n"+in), nil)
		var le *LimitError
		require.ErrorAs(t, err, &le, name)
		assert.Equal(t, "Parts", le.Limit)
	}
}

// A repeatReader gives the same block n times.
type repeatReader struct {
	block []byte
	n     int
	off   int
}

func (r *repeatReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	k := copy(p, r.block[r.off:])
	if r.off += k; r.off == len(r.block) {
		r.off = 0
		r.n--
	}
	return k, nil
}

func TestA40HeaderFlood(t *testing.T) {
	for want, r := range map[string]io.Reader{
		"HeaderFields": &repeatReader{block: []byte("Received: by x\r\n"), n: 1_000_000},
		"LineBytes":    io.MultiReader(strings.NewReader("Subject: "), &repeatReader{block: bytes.Repeat([]byte("x"), 1<<16), n: 1 << 14}),
		"HeaderBytes":  &repeatReader{block: []byte("Subject: " + strings.Repeat("x", 60_000) + "\n"), n: 1_000},
	} {
		start := time.Now()
		p, err := Parse(r, nil)
		var le *LimitError
		require.ErrorAs(t, err, &le)
		assert.Equal(t, want, le.Limit)
		assert.NotZero(t, p.Header.Len()+len(p.Header.Raw()), "the header so far is kept")
		assert.Less(t, time.Since(start), 5*time.Second)
	}
}

// TestTreeIsBounded has many parts with large headers, or many wrong lines, not
// add up to a tree without bounds.
func TestTreeIsBounded(t *testing.T) {
	const head = "Content-Type: multipart/mixed; boundary=b\n\n"
	grown := func(in io.Reader) (uint64, *Part, error) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		p, err := Parse(in, nil)
		runtime.GC()
		runtime.ReadMemStats(&after)
		return after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc), p, err
	}
	for name, field := range map[string]string{"long fields": "X-A: " + strings.Repeat("y", 1000) + "\n", "short fields": "A:\n"} {
		part := []byte("--b\n" + strings.Repeat(field, 900) + "\nx\n")
		heap, p, err := grown(io.MultiReader(strings.NewReader(head), &repeatReader{block: part, n: 9000}))
		var le *LimitError
		require.ErrorAs(t, err, &le, name)
		assert.Equal(t, "AllHeaderBytes", le.Limit, name)
		assert.Equal(t, int64(DefaultAllHeaderBytes), le.Max)
		assert.NotEmpty(t, le.Path)
		assert.NotEmpty(t, p.Children, "the tree so far is kept")
		assert.Less(t, heap, uint64(48<<20), name)
		runtime.KeepAlive(p)
	}
	part := []byte("--b\nA: b\n" + strings.Repeat("no field at all\nX-A: b\n", maxDefects) + "\nx\n")
	heap, p, err := grown(io.MultiReader(strings.NewReader(head), &repeatReader{block: part, n: 4000}))
	require.NoError(t, err)
	assert.Len(t, p.Children, 4000)
	assert.Equal(t, maxAllDefects+1, len(codes(p)), "and the one of the missing end") //nolint:testifylint // Len would print them all
	assert.Less(t, heap, uint64(48<<20))
	runtime.KeepAlive(p)
}

// A body of any size is read in a few blocks of memory, whatever its lines.
func TestMemoryIsFlat(t *testing.T) {
	const size = 24 << 20
	for name, head := range map[string]string{
		"one line":  "Subject: x\n\n",
		"base64":    "Content-Transfer-Encoding: base64\n\n",
		"qp":        "Content-Transfer-Encoding: quoted-printable\n\n",
		"uu":        "Content-Transfer-Encoding: uuencode\n\n",
		"multipart": "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n",
		"preamble":  "Content-Type: multipart/mixed; boundary=b\n\n",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse(io.MultiReader(strings.NewReader(head), &repeatReader{block: bytes.Repeat([]byte("QUJD"), 1<<14), n: size >> 16}), nil)
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20), name)
	}
}

// TestA42BoundaryConfusion pins the choices where two parsers might differ.
func TestA42BoundaryConfusion(t *testing.T) {
	cases := []struct {
		name, in, tree string
		defects        []DefectCode
	}{
		{"two content types: the first rules", "Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n", "text/plain", []DefectCode{DefectDuplicateField}},
		{"two boundary parameters: the first rules", "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--a\n\nx\n--b\n\ny\n--a--\n", "multipart/mixed(text/plain)", []DefectCode{DefectParameter}},
		{"a longer line is no delimiter", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--bx\n--b--x\n--b--\n", "multipart/mixed(text/plain)", nil},
		{"boundary of the outer one", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b--\n", "multipart/mixed(multipart/mixed(text/plain))", []DefectCode{DefectDuplicateBoundary}},
		{"base64 on a multipart is ignored", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\n\nx\n--b--\n", "multipart/mixed(text/plain)", []DefectCode{DefectEncodedContainer}},
		{"a delimiter in an encoded message is none of ours", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAoKLS1iCi0tYi0tCg==\n--b--\n", "multipart/mixed(message/rfc822(text/plain))", []DefectCode{DefectEncodedContainer}},
		{"unterminated", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx", "multipart/mixed(text/plain)", []DefectCode{DefectNoCloseBoundary}},
		{"after the end nothing counts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\ny\n--b--\n", "multipart/mixed(text/plain)", nil},
		{"blanks are no continuation of the boundary", "Content-Type: multipart/mixed; boundary=\"b \"\n\n--b\n\nx\n--b  --\n--b--\n", "multipart/mixed(text/plain)", nil},
	}
	for _, c := range cases {
		p, _, err := parseString(c.in)
		require.NoError(t, err)
		assert.Equal(t, c.tree, outline(p), c.name)
		assert.Equal(t, c.defects, codes(p), c.name)
	}
}

func TestA43DecodedBytes(t *testing.T) {
	// Quoted-printable and uuencode never give more than they take; base64
	// neither. The limit counts all parts together.
	in := "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\n12345678\n", 10)
	_, err := Parse(strings.NewReader(in), nil, WithLimits(Limits{DecodedBytes: 50}))
	var le *LimitError
	require.ErrorAs(t, err, &le)
	assert.Equal(t, "DecodedBytes", le.Limit)
}

func TestA47NamesKeepTheirData(t *testing.T) {
	p, _, err := parseString("Content-Disposition: attachment; filename*=utf-8''x%E2%80%AEgpj.exe\n\nhi")
	require.NoError(t, err)
	assert.Equal(t, "x\u202egpj.exe", p.Name, "data is preserved")
	assert.Equal(t, "x_gpj.exe", SafeName(p.Name))
	assert.Contains(t, codes(p), DefectUnsafeName)
}

// TestA48PartsStayApart: text of one part never runs into the next.
func TestA48PartsStayApart(t *testing.T) {
	_, got, err := parseString("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<img src=\"http://x/\n--b\nContent-Type: text/html\n\nsecret\n--b\nContent-Type: text/html\n\n\">\n--b--\n")
	require.NoError(t, err)
	assert.Equal(t, bodies{"1": `<img src="http://x/`, "2": "secret", "3": `">`}, got)
}

func TestA55MissingHeader(t *testing.T) {
	for in, body := range map[string]string{"": "", "\n": "", "\r\n\r\n": "\r\n", "\nhello\n": "hello\n", "hello\n": "hello\n", "\nSubject: x\n": "Subject: x\n", ":\n": ":\n", "\x00": "\x00"} {
		p, got, err := parseString(in)
		require.NoError(t, err, "%q", in)
		assert.Equal(t, "text/plain", p.Type)
		assert.Equal(t, body, got[""], "%q", in)
		assert.Contains(t, codes(p), DefectNoHeader)
		assert.Empty(t, p.Header.Addresses("From"))
	}
}
