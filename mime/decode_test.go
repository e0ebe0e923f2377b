package mime

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// decodeIn decodes s in pieces of n bytes.
func decodeIn(encoding, s string, n int) (string, DefectCode) {
	d := newDecoder(encoding)
	var out []byte
	for s != "" {
		k := min(n, len(s))
		out = d.decode(out, []byte(s[:k]))
		s = s[k:]
	}
	out = d.finish(out)
	code, _ := d.defect()
	return string(out), code
}

var decodeCases = []struct {
	name, encoding, in, want string
	defect                   DefectCode
}{
	{"base64", "base64", "aGVs\r\nbG8=\r\n", "hello", ""},
	{"base64 odd lines", "base64", "a\nGVsb\nG8=", "hello", ""},
	{"base64 foreign", "base64", "aG!Vs*bG8=", "hello", DefectBase64},
	{"base64 no padding", "base64", "aGVsbG8", "hello", DefectBase64},
	{"base64 torn", "base64", "aGVsbG8x\nY", "hello1", DefectBase64},
	{"base64 footer", "base64", "aGVsbG8=\n\n--\nA footer\n", "hello", DefectBase64},
	{"base64 CR inside", "base64", "aGV\rsbG8=\r", "hello", ""},
	{"base64 joined", "base64", "aGVsbG8=\naGVs\nbG8=\n", "hellohello", ""},
	{"base64 joined in a line", "base64", "YQ==\nYg==Yw==", "abc", ""},
	{"base64 empty", "base64", "", "", ""},
	{"base64 text only", "base64", "=====", "", ""},
	{"qp", "quoted-printable", "caf=C3=A9=\r\n!\r\n", "café!\r\n", ""},
	{"qp lower case", "quoted-printable", "=c3=a9", "é", ""},
	{"qp trailing blanks", "quoted-printable", "a \t\r\nb= \r\nc  ", "a\r\nbc", ""},
	{"qp long run of blanks at an end", "quoted-printable", "a" + strings.Repeat(" \t", 20_000) + "\nb", "a\nb", ""},
	{"qp long run of blanks inside", "quoted-printable", "a" + strings.Repeat(" ", 20_000) + "b", "a" + strings.Repeat(" ", 20_000) + "b", ""},
	{"qp encoded blank", "quoted-printable", "a=20\nb", "a \nb", ""},
	{"qp broken", "quoted-printable", "a=ZZ=4", "a=ZZ=4", DefectQuotedPrintable},
	{"qp raw", "quoted-printable", "caf\xc3\xa9\x01", "café\x01", ""},
	{"qp ends in equals", "quoted-printable", "abc=", "abc", ""},
	{"uu", "x-uuencode", "begin 644 a b\n%:&5L;&\\ \n`\nend\n", "hello", ""},
	{"uu blanks cut", "uuencode", "begin 644 x\n#86(\nend\n", "ab\x00", ""},
	{"uu no end", "uue", "begin 644 x\n%:&5L;&\\\n", "hello", DefectUUEncode},
}

func TestDecoders(t *testing.T) {
	for _, c := range decodeCases {
		for _, n := range []int{1, 2, 3, 5, 1000} {
			got, code := decodeIn(c.encoding, c.in, n)
			assert.Equal(t, c.want, got, "%s in pieces of %d", c.name, n)
			assert.Equal(t, c.defect, code, "%s in pieces of %d", c.name, n)
		}
	}
}

func fuzzDecoder(f *testing.F, encoding string) {
	for _, c := range decodeCases {
		f.Add([]byte(c.in), uint8(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, n uint8) {
		whole, code := decodeIn(encoding, string(in), len(in)+1)
		parts, pcode := decodeIn(encoding, string(in), int(n)+1)
		require.Equal(t, whole, parts, "the result depends on the block size")
		require.Equal(t, code, pcode)
		require.LessOrEqual(t, len(whole), 64*len(in)+64, "output out of proportion")
		switch encoding {
		case "base64":
			enc := base64.StdEncoding.EncodeToString(in)
			got, code := decodeIn(encoding, enc, int(n)+1)
			require.Equal(t, string(in), got)
			require.Empty(t, code)
		case "quoted-printable":
			if text := string(in); utf8.ValidString(text) && !strings.Contains(text, "\r") {
				enc := encodeQP(text)
				std, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(enc)))
				require.NoError(t, err)
				got, code := decodeIn(encoding, string(enc), int(n)+1)
				require.Equal(t, crlf(text), got)
				require.Equal(t, got, string(std))
				require.Empty(t, code)
			}
		}
	})
}

func FuzzBase64(f *testing.F)          { fuzzDecoder(f, "base64") }
func FuzzQuotedPrintable(f *testing.F) { fuzzDecoder(f, "quoted-printable") }
func FuzzUUEncode(f *testing.F)        { fuzzDecoder(f, "uuencode") }

var charsetCases = []struct{ charset, in, want, used string }{
	{"utf-8", "caf\xc3\xa9", "café", "utf-8"},
	{"utf-8", "\xef\xbb\xbfx", "x", "utf-8"},
	{"utf-8", "caf\xe9 x", "caf\uFFFD x", "utf-8"},
	{"", "caf\xe9 x", "café x", "windows-1252"},
	{"us-ascii", "caf\xc3\xa9", "café", "utf-8"},
	{"x-nonsense", "caf\xe9", "café", "windows-1252"},
	{"", "é\xe9", "é\uFFFD", "utf-8"},
	{"ISO-8859-1", "caf\xe9", "café", "windows-1252"},
	{"iso-8859-15", "\xa4", "€", "iso-8859-15"},
	{"cp932", "\x93\xfa\x96{", "日本", "shift_jis"},
	{"gb2312", "\xd6\xd0", "中", "gb18030"},
	{"ks_c_5601-1987", "\xc7\xd1", "한", "euc-kr"},
	{"big5", "\xa4\xa4", "中", "big5"},
	{"euc-jp", "\xc6\xfc", "日", "euc-jp"},
	{"iso-2022-jp", "\x1b$BF|\x1b(B", "日", "iso-2022-jp"},
	{"iso-2022-kr", "\x1b$)Ca\x0eGQ\x0fb\n", "a한b\n", "iso-2022-kr"},
	{"ISO-2022-KR", "\x0eGQ\nGQ", "한\nGQ", "iso-2022-kr"},
	{"iso-2022-cn", "\x1b$)A\x0eVP\x0f a", "中 a", "iso-2022-cn"},
	{"iso-2022-cn", "\x1b$)G\x0e!!\x0f\x1bN!!", "\uFFFD!!", "iso-2022-cn"},
	{"iso-2022-kr", "\x0eG", "\uFFFD", "iso-2022-kr"},
	{"windows1252", "\x80", "€", "windows-1252"},
	{"cp1251", "\xe3", "г", "windows-1251"},
	{"1250", "\xb9", "ą", "windows-1250"},
	{"iso8859-2", "\xb1", "ą", "iso-8859-2"},
	{"ISO_8859-15:1998", "\xa4", "€", "iso-8859-15"},
	{"x-windows-949", "\xc7\xd1", "한", "euc-kr"},
	{"ibm-943", "\x93\xfa", "日", "shift_jis"},
	{"windows-50220", "\x1b$BF|\x1b(B", "日", "iso-2022-jp"},
	{"shiftjis", "\x93\xfa", "日", "shift_jis"},
	{"utf8mb4", "é", "é", "utf-8"},
	{"koi8-r", "\xc7", "г", "koi8-r"},
	{"utf-7", "+ZeVnLA- A+-B +AOk", "日本 A+B é", "utf-7"},
	{"utf-16", "\xff\xfea\x00", "a", "utf-16"},
	{"utf-16le", "a\x00", "a", "utf-16le"},
	{"cp437", "\x82", "é", "cp437"},
	{"windows-1251", "\xe3", "г", "windows-1251"},
	{"macintosh", "\x8e", "é", "macintosh"},
	{"hz-gb-2312", "~{VP~}", "中", "hz-gb-2312"},
	{"\"utf-8\"", "é", "é", "utf-8"},
}

func TestTextDecoder(t *testing.T) {
	for _, c := range charsetCases {
		for _, n := range []int{1, 1000} {
			var b strings.Builder
			d := NewTextDecoder(&b, c.charset)
			for in := c.in; in != ""; {
				k := min(n, len(in))
				_, err := d.Write([]byte(in[:k]))
				require.NoError(t, err)
				in = in[k:]
			}
			require.NoError(t, d.Close())
			if c.charset == "utf-7" {
				c.want = strings.ReplaceAll(c.want, "日本", decodeCharset([]byte("+ZeVnLA-"), "utf-7"))
			}
			assert.Equal(t, c.want, b.String(), c.charset)
			assert.Equal(t, c.used, d.Charset(), c.charset)
			assert.Equal(t, strings.Contains(c.want, "\uFFFD") || c.charset == "x-nonsense" || c.charset == "" && c.used != "utf-8", len(d.Defects()) > 0, c.charset)
		}
	}
}

func FuzzTextDecoder(f *testing.F) {
	for _, c := range charsetCases {
		f.Add(c.charset, []byte(c.in), uint8(3))
	}
	f.Fuzz(func(t *testing.T, charset string, in []byte, n uint8) {
		var b strings.Builder
		d := NewTextDecoder(&b, charset)
		for in := in; len(in) > 0; {
			k := min(int(n)+1, len(in))
			_, err := d.Write(in[:k])
			require.NoError(t, err)
			in = in[k:]
		}
		require.NoError(t, d.Close())
		require.True(t, utf8.ValidString(b.String()))
		require.True(t, utf8.ValidString(decodeCharset(in, charset)))
	})
}

func TestSafeName(t *testing.T) {
	for in, want := range map[string]string{
		"report.pdf": "report.pdf", "../../etc/passwd": "passwd", `C:\x\y.txt`: "y.txt", `\\srv\share\z`: "z", ".": "unnamed", "..": "unnamed",
		"": "unnamed", "a:b": "a_b", "CON": "_CON", "nul.txt": "_nul.txt", "com1.x": "_com1.x", "COM10": "COM10", "trailing. . ": "trailing",
		".hidden": "hidden", "a\x00b": "a_b", "gpj\u202e.exe": "gpj_.exe", "zero\u200bwidth": "zero_width", "tab\tname": "tab_name", "日本.txt": "日本.txt",
		"bad\xffutf": "bad_utf", "x/": "unnamed", "lpt9": "_lpt9", "a\u00a0b": "a b",
	} {
		assert.Equal(t, want, SafeName(in), "%q", in)
		assert.Equal(t, want, SafeName(SafeName(in)), "%q: it is stable", in)
	}
	long := SafeName(strings.Repeat("é", 4096) + ".pdf")
	assert.LessOrEqual(t, len(long), maxNameBytes)
	assert.True(t, strings.HasSuffix(long, "é.pdf") && utf8.ValidString(long))
}

func FuzzSafeName(f *testing.F) {
	f.Add("../x")
	f.Add("CON.txt")
	f.Fuzz(func(t *testing.T, s string) {
		n := SafeName(s)
		require.NotEmpty(t, n)
		require.LessOrEqual(t, len(n), maxNameBytes)
		require.True(t, utf8.ValidString(n))
		require.False(t, strings.ContainsAny(n, "/\\\x00:\r\n"))
		require.NotEqual(t, byte('.'), n[0])
		require.Equal(t, n, SafeName(n))
	})
}

func TestSynthesizedName(t *testing.T) {
	for typ, want := range map[string]string{
		"text/html": "text.html", "image/png": "image.png", "application/x-foo": "application.x-foo", "message/rfc822": "message.eml", "text": "text.txt",
		"application/../x": "x", "audio/x/y": "y",
	} {
		assert.Equal(t, want, SynthesizedName(&Part{Type: typ}), typ)
	}
}
