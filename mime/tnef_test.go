package mime

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func le(size int, v uint64) []byte {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	return b[:size]
}

// tnefAttr makes an attribute with its type, as MS-OXTNEF 2.1.3.2 has it.
func tnefAttr(level byte, id uint32, data []byte) []byte {
	b := append([]byte{level}, le(4, uint64(id))...)
	b = append(append(b, le(4, uint64(len(data)))...), data...)
	sum := uint16(0)
	for _, c := range data {
		sum += uint16(c)
	}
	return append(b, le(2, uint64(sum))...)
}

func tnefStream(attrs ...[]byte) []byte {
	return append(le(4, tnefSignature), append([]byte{1, 0}, bytes.Join(attrs, nil)...)...)
}

func mapiProps(props ...[]byte) []byte {
	return append(le(4, uint64(len(props))), bytes.Join(props, nil)...)
}

// mapiVar makes a property of variable length.
func mapiVar(id, typ uint32, value []byte) []byte {
	b := append(le(4, uint64(id<<16|typ)), le(4, 1)...)
	b = append(append(b, le(4, uint64(len(value)))...), value...)
	return append(b, make([]byte, padded(int64(len(value)))-int64(len(value)))...)
}

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = append(b, le(2, uint64(u))...)
	}
	return b
}

// lzfu compresses RTF, with a reference wherever one can be had.
func lzfu(s string) []byte {
	var dict [rtfDictionary]byte
	pos := copy(dict[:], rtfPreset)
	filled := pos
	var body, group []byte
	var control byte
	n := 0
	add := func(ref bool, b ...byte) {
		if ref {
			control |= 1 << n
		}
		group = append(group, b...)
		if n++; n == 8 {
			body = append(append(body, control), group...)
			control, group, n = 0, nil, 0
		}
	}
	put := func(c byte) {
		dict[pos] = c
		pos = (pos + 1) % rtfDictionary
		filled = min(filled+1, rtfDictionary)
	}
	for i := 0; i < len(s); {
		best, at := 0, 0
		for j := 0; j+1 < min(filled, pos); j++ {
			k := 0
			for k < 17 && i+k < len(s) && j+k < pos && dict[j+k] == s[i+k] {
				k++
			}
			if k > best {
				best, at = k, j
			}
		}
		if best < 2 {
			add(false, s[i])
			put(s[i])
			i++
			continue
		}
		add(true, byte(at>>4), byte(at<<4)|byte(best-2))
		for range best {
			put(s[i])
			i++
		}
	}
	add(true, byte(pos>>4), byte(pos<<4))
	if n > 0 {
		body = append(append(body, control), group...)
	}
	head := append(le(4, uint64(len(body)+12)), le(4, uint64(len(s)))...)
	head = append(append(head, le(4, rtfCompressed)...), 0, 0, 0, 0)
	return append(head, body...)
}

// rtfPlain is RTF in the form that is not compressed.
func rtfPlain(s string) []byte {
	head := append(le(4, uint64(len(s)+12)), le(4, uint64(len(s)))...)
	return append(append(append(head, le(4, rtfUncompressed)...), 0, 0, 0, 0), s...)
}

const htmlInRTF = `{\rtf1\ansi\ansicpg1252\fromhtml1 \deff0{\fonttbl{\f0\fswiss\fcharset0 Arial;}{\f1\fswiss\fcharset204 Arial;}}` +
	`{\colortbl\red0\green0\blue0;}\uc1\pard\plain\deftab360 \f0\fs24 ` +
	`{\*\htmltag19 <html>}{\*\htmltag34 <head>}{\*\htmltag50 <body>}{\*\htmltag64 <p class="a">}\htmlrtf {\htmlrtf0 Gr\'fc\u223?e & {\*\htmltag84 &lt;}\htmlrtf <\htmlrtf0 ` +
	`{\f1 \'e4\'e0}\htmlrtf \par}\htmlrtf0 {\*\htmltag72 </p>}{\*\htmltag0 \par }{\*\mhtmltag64 <p class="b">}{\*\htmltag58 </body>}\u-10179?\u-8704?}`

const htmlOfRTF = `<html><head><body><p class="a">Grüße & &lt;да</p>` + "\r\n" + `</body>😀`

// tnefFixture is what Outlook makes of a message with two files and an attached
// message.
func tnefFixture() []byte { return tnefFixtureOf(70_001) }

func tnefFixtureOf(size int) []byte {
	rendering := tnefAttr(2, 0x00069002, make([]byte, 14))
	inner := tnefStream(
		tnefAttr(1, 0x00069007, append(le(4, 1251), 0, 0, 0, 0)),
		tnefAttr(1, 0x0002800c, []byte("\xcf\xf0\xe8\xe2\xe5\xf2\x00")),
		rendering,
		tnefAttr(2, 0x0006800f, []byte("inner data")),
		tnefAttr(2, 0x00018010, []byte("inner.txt\x00")),
	)
	return tnefStream(
		tnefAttr(1, 0x00089006, le(4, 0x00010000)),
		tnefAttr(1, 0x00069007, append(le(4, 1252), 0, 0, 0, 0)),
		tnefAttr(1, 0x00018004, []byte("Subject\x00")),
		tnefAttr(1, 0x00069003, mapiProps(
			append(le(4, 0x0e070003), le(4, 3)...),
			append(le(4, 0x0e06<<16|mapiTime), le(8, 1)...),
			append(append(le(4, 0x80010003), make([]byte, 16)...), append(le(4, 0), append(le(4, 7), le(4, 9)...)...)...),
			append(append(append(le(4, 0x8002001e), make([]byte, 16)...), append(le(4, 1), append(le(4, 6), "n\x00a\x00\x00\x00\x00\x00"...)...)...), append(le(4, 1), append(le(4, 3), "ab\x00\x00"...)...)...),
			append(append(le(4, 0x10010000|mapiMulti|3), le(4, 2)...), make([]byte, 8)...),
			mapiVar(propBody, mapiString, utf16le("Grüße 😀")),
			mapiVar(propRTF, mapiBinary, lzfu(htmlInRTF)),
		)),
		rendering,
		tnefAttr(2, 0x0006800f, allBytes(size)),
		tnefAttr(2, 0x00018010, []byte("LONGNA~1.PDF\x00")),
		tnefAttr(2, 0x00069005, mapiProps(
			mapiVar(propAttachType, mapiString8, []byte("application/pdf\x00")),
			mapiVar(propAttachID, mapiString, utf16le("id@x")),
			mapiVar(propAttachLong, mapiString, utf16le("long nâme.pdf")),
		)),
		rendering,
		tnefAttr(2, 0x00018010, []byte("..\\..\\evil.exe\x00")),
		tnefAttr(2, 0x0006800f, []byte("evil")),
		rendering,
		tnefAttr(2, 0x0006800f, nil),
		tnefAttr(2, 0x00069005, mapiProps(
			mapiVar(propAttachData, mapiObject, append(make([]byte, 16), inner...)),
			append(le(4, 0x37050003), le(4, 5)...),
			mapiVar(propAttachLong, mapiString8, []byte("attached message\x00")),
		)),
	)
}

func tnefMessage(data []byte) string {
	return "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nhello\n--b\nContent-Type: application/ms-tnef; name=winmail.dat\n" +
		"Content-Transfer-Encoding: base64\n\n" + wrap76(base64.StdEncoding.EncodeToString(data)) + "\n--b\n\nlast\n--b--\n"
}

func TestTNEF(t *testing.T) {
	p, got, err := parseString(tnefMessage(tnefFixture()), WithExpansion())
	require.NoError(t, err)
	assert.Equal(t, "multipart/mixed(text/plain,application/ms-tnef(text/plain,application/pdf,application/octet-stream,application/ms-tnef(text/plain,application/octet-stream),text/html),text/plain)", outline(p))
	tnef := p.Children[1]
	assert.Equal(t, "Grüße 😀", decodeCharset([]byte(got["2.1"]), tnef.Children[0].Charset))
	pdf := tnef.Children[1]
	assert.Equal(t, []string{"long nâme.pdf", "id@x", "2.2"}, []string{pdf.Name, pdf.ContentID, pdf.Path})
	assert.Equal(t, string(allBytes(70_001)), got["2.2"])
	assert.EqualValues(t, 70_001, pdf.Size)
	assert.Equal(t, `..\..\evil.exe`, tnef.Children[2].Name)
	assert.Equal(t, "evil.exe", SafeName(tnef.Children[2].Name), "A33: one code path for every name")
	inner := tnef.Children[3]
	assert.Equal(t, "attached message", inner.Name)
	assert.Equal(t, "Привет", decodeCharset([]byte(got["2.4.1"]), inner.Children[0].Charset))
	assert.Equal(t, "inner data", got["2.4.2"])
	assert.Equal(t, "inner.txt", inner.Children[1].Name)
	assert.Equal(t, htmlOfRTF, got["2.5"])
	assert.Equal(t, "last", got["3"])
	assert.Equal(t, []DefectCode{DefectUnsafeName}, codes(p))
	for q := range tnef.All() {
		assert.Equal(t, q != tnef, q.Virtual)
	}
}

// wholeTNEF takes TNEF as a file.
type wholeTNEF struct{ bodies }

func (s wholeTNEF) Begin(p *Part) (io.Writer, error) {
	if p.IsTNEF() {
		return bodyWriter{s.bodies, p.Path}, nil
	}
	return s.bodies.Begin(p)
}

func TestTNEFWholeIfTheSinkWantsIt(t *testing.T) {
	msg, data := tnefMessage(tnefFixture()), string(tnefFixture())
	s := wholeTNEF{bodies{}}
	p, err := Parse(strings.NewReader(msg), s, WithExpansion())
	require.NoError(t, err)
	assert.Equal(t, data, s.bodies["2"])
	assert.Empty(t, p.Children[1].Children)
	p, got, err := parseString(msg)
	require.NoError(t, err)
	assert.False(t, p.Children[1].IsTNEF(), "without the option it is a file as any")
	assert.Equal(t, data, got["2"])
}

func TestTNEFBodies(t *testing.T) {
	html := mapiVar(propHTML, mapiBinary, []byte("<html><head><meta charset=\"koi8-r\"></head>\xc1</html>"))
	rtf := mapiVar(propRTF, mapiBinary, lzfu(`{\rtf1\ansi{\fonttbl{\f0 Arial;}}\pard first\line caf\'e9 \{x\}\tab y\par \u8364?uro{\*\generator x;}\emdash \par}`))
	cases := []struct {
		name  string
		props []byte
		tree  string
		want  string // of the last body
	}{
		{"HTML rules over RTF", mapiProps(rtf, html), "text/html", "<html><head><meta charset=\"koi8-r\"></head>а</html>"},
		{"RTF alone", mapiProps(rtf), "text/plain", "first\r\ncafé {x}\ty\r\n€uro—\r\n"},
		{"text and plain RTF", mapiProps(mapiVar(propBody, mapiString8, []byte("caf\xe9\x00")), rtf), "text/plain", "café"},
		{"text without its end", mapiProps(mapiVar(propBody, mapiString, utf16le("AB")[:4])), "text/plain", "AB"},
		{"nothing", mapiProps(), "", ""},
	}
	for _, c := range cases {
		p, got, err := parseString("Content-Type: application/ms-tnef\n\n"+string(tnefStream(tnefAttr(1, 0x00069003, c.props))), WithExpansion())
		require.NoError(t, err)
		assert.Empty(t, codes(p), c.name)
		var types []string
		for _, child := range p.Children {
			types = append(types, child.Type)
		}
		assert.Equal(t, c.tree, strings.Join(types, ","), c.name)
		if n := len(p.Children); n > 0 {
			last := p.Children[n-1]
			assert.Equal(t, c.want, decodeCharset([]byte(got[last.Path]), last.Charset), c.name)
		}
	}
}

// The example of MS-OXRTFCP 4.1.
func TestRTFExpander(t *testing.T) {
	require.Len(t, rtfPreset, 207)
	data := []byte("\x2d\x00\x00\x00\x2b\x00\x00\x00\x4c\x5a\x46\x75\xf1\xc5\xc7\xa7\x03\x00\x0a\x00\x72\x63\x70\x67\x31\x32\x35\x42\x32\x0a\xf3\x20\x68\x65\x6c\x09\x00\x20\x62\x77\x05\xb0\x6c\x64\x7d\x0a\x80\x0f\xa0")
	out, err := io.ReadAll(newRTFReader(bytes.NewReader(data)).in)
	require.NoError(t, err)
	assert.Equal(t, "{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n", string(out))
	long := strings.Repeat("all work and no play ", 2000)
	out, err = io.ReadAll(newRTFReader(bytes.NewReader(lzfu(long))).in)
	require.NoError(t, err)
	assert.Equal(t, long, string(out))
}

// TestTNEFTorn cuts the stream at every place: what came before is kept, and
// Begin and End stay in step.
func TestTNEFTorn(t *testing.T) {
	data := tnefFixtureOf(50)
	for n := 6; n < len(data); n += 2 {
		b := &balance{t: t}
		p, err := Parse(strings.NewReader(tnefMessage(data[:n])), b, WithExpansion())
		require.NoError(t, err)
		require.Len(t, p.Children, 3)
		require.Empty(t, b.open)
	}
	for i := 6; i < len(data); i += 5 { // and with a byte changed
		bad := bytes.Clone(data)
		bad[i] ^= 0xff
		b := &balance{t: t}
		p, err := Parse(strings.NewReader(tnefMessage(bad)), b, WithExpansion())
		require.NoError(t, err)
		require.Len(t, p.Children, 3)
		require.Empty(t, b.open)
	}
}

// balance checks that each part that begins ends.
type balance struct {
	t    *testing.T
	open []*Part
}

func (b *balance) Begin(p *Part) (io.Writer, error) {
	b.open = append(b.open, p)
	if p.IsContainer() {
		return nil, nil
	}
	return io.Discard, nil
}

func (b *balance) End(p *Part) error {
	n := len(b.open) - 1
	require.GreaterOrEqual(b.t, n, 0)
	require.Same(b.t, b.open[n], p)
	b.open = b.open[:n]
	return nil
}

// TestA43TNEFBombs: what claims to be large, or nests, costs no more than its
// own size allows.
func TestA43TNEFBombs(t *testing.T) {
	claim := tnefAttr(1, 0x00069003, mapiProps(mapiVar(propRTF, mapiBinary, append(le(4, 1<<31), append(le(4, 1<<32-1), append(le(4, rtfCompressed), make([]byte, 4)...)...)...))))
	p, _, err := parseString("Content-Type: application/ms-tnef\n\n"+string(tnefStream(claim)), WithExpansion())
	require.NoError(t, err)
	assert.Contains(t, codes(p), DefectRTF)

	deep := tnefStream()
	for range 300 {
		deep = tnefStream(tnefAttr(2, 0x00069002, nil), tnefAttr(2, 0x00069005, mapiProps(mapiVar(propAttachData, mapiObject, append(make([]byte, 16), deep...)))))
	}
	_, _, err = parseString("Content-Type: application/ms-tnef\n\n"+string(deep), WithExpansion())
	var limit *LimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "Depth", limit.Limit)

	rtf := rtfPlain("{\\rtf1 " + strings.Repeat("x", 100_000) + "}")
	_, _, err = parseString("Content-Type: application/ms-tnef\n\n"+string(tnefStream(tnefAttr(1, 0x00069003, mapiProps(mapiVar(propRTF, mapiBinary, rtf))))), WithExpansion(), WithLimits(Limits{DecodedBytes: 50_000}))
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "DecodedBytes", limit.Limit)

	groups := "{\\rtf1 " + strings.Repeat("{", 50_000) + "deep" + strings.Repeat("}", 50_000) + "\\par}"
	_, got, err := parseString("Content-Type: application/ms-tnef\n\n"+string(tnefStream(tnefAttr(1, 0x00069003, mapiProps(mapiVar(propRTF, mapiBinary, rtfPlain(groups)))))), WithExpansion())
	require.NoError(t, err)
	assert.Equal(t, "deep\r\n", got["1"])
}

func FuzzTNEF(f *testing.F) {
	f.Add(tnefFixtureOf(100))
	f.Add(tnefStream(tnefAttr(1, 0x00069003, mapiProps(mapiVar(propRTF, mapiBinary, lzfu(htmlInRTF))))))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &balance{t: t}
		p, err := Parse(strings.NewReader("Content-Type: application/ms-tnef\n\n"+string(data)), b, WithExpansion(), WithLimits(Limits{DecodedBytes: 1 << 20}))
		if err != nil {
			require.ErrorIs(t, err, ErrLimit)
			return
		}
		require.Empty(t, b.open)
		for q := range p.All() {
			_ = fmt.Sprint(q.Defects)
		}
	})
}
