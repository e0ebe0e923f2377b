package ews

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

func parseText(text string) (*node, error) {
	d := newDocument(newSource(iotest.OneByteReader(strings.NewReader(text)), 1<<20))
	s, err := d.root()
	if err != nil {
		return nil, err
	}
	return d.element(s)
}

// What XML 1.0 forbids becomes U+FFFD, all else stays.
func TestForbiddenCharacters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"a&#x0;b&#x1F;c", "a\uFFFDb\uFFFDc"},
		{"&#0;&#8;&#11;&#x1f;&#X1F;", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"a\x00b\x1fc\x0b", "a\uFFFDb\uFFFDc\uFFFD"},
		{"&#9;&#10;&#13;&#x20;", "\t\n\r "},
		{"&#xD800;&#xDFFF;&#xFFFE;&#xFFFF;", "\uFFFD\uFFFD\uFFFD\uFFFD"},
		{"&#x1F600;\U0001F600", "\U0001F600\U0001F600"},
		{"&#x110000;&#9999999999;", "\uFFFD\uFFFD"},
		{"\xff\xc3(\xe2\x82", "\uFFFD\uFFFD(\uFFFD\uFFFD"},
		{"\xef\xbf\xbe\xef\xbf\xbf", "\uFFFD\uFFFD"},
		{"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"Grüße &amp; &lt;€&gt;", "Grüße & <€>"},
	} {
		n, err := parseText("<a>" + c.in + "</a>")
		require.NoError(t, err, "%q", c.in)
		assert.Equal(t, c.want, n.text, "%q", c.in)
	}
}

// What could be an attack, or is no answer, is an error, and a bounded one.
func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("<a>", maxDepth+1)
	for name, text := range map[string]string{
		"a DTD":              `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`,
		"an entity":          `<a>&b;</a>`,
		"depth":              deep + strings.Repeat("</a>", maxDepth+1),
		"length":             "<a>" + strings.Repeat("x", 2<<20) + "</a>",
		"nothing":            "",
		"no XML":             "Service Unavailable",
		"the end is missing": "<a><b></b>",
		"another charset":    `<?xml version="1.0" encoding="utf-16"?><a></a>`,
		"elements":           "<a>" + strings.Repeat("<b/>", (maxElements+1)) + "</a>",
	} {
		_, err := parseText(text)
		assert.Error(t, err, name)
	}
	_, err := parseText("<a>" + strings.Repeat("x", 2<<20) + "</a>")
	require.ErrorIs(t, err, driver.ErrLimit)
	_, err = parseText("<a><b></b>")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"<html><body>Outlook</body></html>", "<a/>", `<Envelope/>`,
		`<s:Envelope xmlns:s="` + nsSOAP + `"/>`,
		`<s:Envelope xmlns:s="` + nsSOAP + `"><s:Body/></s:Envelope>`,
		`<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><a/></s:Body></s:Envelope>`,
	} {
		_, err := summary([]byte(text))
		assert.Error(t, err, text)
	}
}

// decode reads base64 text in an element, as MimeContent is read.
func decode(text string, chunk int) ([]byte, error) {
	var in io.Reader = strings.NewReader("<t:a xmlns:t='x'>" + text + "</t:a>")
	if chunk == 1 {
		in = iotest.OneByteReader(in)
	}
	src := newSource(in, 1<<10)
	d := newDocument(src)
	if _, err := d.root(); err != nil {
		return nil, err
	}
	out, err := io.ReadAll(newBase64Reader(src))
	if err != nil {
		return out, err
	}
	if t, err := d.token(); err != nil {
		return out, err
	} else if _, ok := t.(xml.EndElement); !ok {
		return out, errors.New("the end tag is not next")
	}
	return out, nil
}

func TestBase64(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("Grüße\r\n\x00\xff"), 9_000)
	whole := base64.StdEncoding.EncodeToString(plain)
	var lines, refs strings.Builder
	for i := 0; i < len(whole); i += 76 {
		lines.WriteString("\t" + whole[i:min(i+76, len(whole))] + "\r\n")
		refs.WriteString(whole[i:min(i+76, len(whole))] + "&#xD;\n")
	}
	for _, text := range []string{whole, lines.String(), refs.String(), " \n" + whole + "\n "} {
		for _, chunk := range []int{0, 1} {
			got, err := decode(text, chunk)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(plain, got))
		}
	}
	got, err := decode("", 0)
	require.NoError(t, err)
	assert.Empty(t, got)
	for _, bad := range []string{"QUJD!", "QUJ", "QQ==QUJD", "QQ=", "Q", "====", "QUJD&amp;", "QUJD&#65;", "QU-_", "QQ==\nQQ=="} {
		_, err := decode(bad, 1)
		assert.ErrorIs(t, err, errBase64, bad)
	}
}

// FuzzSource holds the filter against what an XML 1.0 parser may see.
func FuzzSource(f *testing.F) {
	for _, s := range []string{"a&#x0;b", "\xff", "&#xFFFE;", "&#", "&#x;", "&#99999999999999999999;", "é€\U0001F600", "\x00", "&amp;&#10;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, err := io.ReadAll(newSource(strings.NewReader(s), 1<<20))
		require.NoError(t, err)
		require.True(t, utf8.Valid(out))
		for _, r := range string(out) {
			require.True(t, isChar(r), "%q of %q", r, s)
		}
		if utf8.ValidString(s) && !strings.Contains(s, "&#") && strings.IndexFunc(s, func(r rune) bool { return !isChar(r) }) < 0 {
			require.Equal(t, s, string(out))
		}
	})
}

// FuzzBase64 holds the decoder against the standard library's.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"QUJD", "QQ==", "QUJ", "Q Q = =", "Q\r\nQ==", "====", "QUJD&#xD;", "&", "QQ==QQ=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "<&") {
			_, _ = decode(s, 1) // must come to an end
			return
		}
		got, err := decode(s, 1)
		want, werr := base64.StdEncoding.DecodeString(strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(s))
		require.Equal(t, werr == nil, err == nil, "%q: %v, %v", s, werr, err)
		if err == nil {
			require.True(t, bytes.Equal(want, got))
		}
	})
}

// FuzzAnswer reads what a server may send: any bytes end in an error or an
// answer.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`<s:Envelope xmlns:s="` + nsSOAP + `"><s:Header><h:ServerVersionInfo MajorVersion="15"/></s:Header><s:Body><m:XResponse><m:ResponseMessages><m:X ResponseClass="Error"><m:ResponseCode>ErrorServerBusy</m:ResponseCode><m:MessageXml><t:Value Name="BackOffMilliseconds">5</t:Value></m:MessageXml></m:X></m:ResponseMessages></m:XResponse></s:Body></s:Envelope>`))
	f.Add([]byte(`<s:Envelope xmlns:s="` + nsSOAP + `"><s:Body><s:Fault><faultcode>a:ErrorX</faultcode></s:Fault></s:Body></s:Envelope>`))
	f.Add([]byte(`<a>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = summary(b)
		n, err := parseText(string(b))
		if err == nil {
			_, _ = poxFinding(n)
			_, _ = soapFinding(n)
			_, _ = itemOf(n)
		}
	})
}
