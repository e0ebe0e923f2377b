package driver_test

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// winmail makes a base64 TNEF stream of attributes; an id holds the type too.
func winmail(attrs ...any) string {
	b := []byte{0x78, 0x9f, 0x3e, 0x22, 1, 0}
	for i := 0; i < len(attrs); i += 2 {
		id, data := uint32(attrs[i].(int)), []byte(attrs[i+1].(string))
		b = binary.LittleEndian.AppendUint32(append(b, 1), id)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
		b = append(b, data...)
		sum := uint16(0)
		for _, c := range data {
			sum += uint16(c)
		}
		b = binary.LittleEndian.AppendUint16(b, sum)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// htmlProps is a list of MAPI properties with an HTML body alone.
const htmlProps = "\x01\x00\x00\x00\x02\x01\x13\x10\x01\x00\x00\x00\x08\x00\x00\x00<p>x</p>"

const tnefPart = "Content-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: base64\n\n"

// TestBodiesAreChosenAsMailClientsDo looks at what becomes TextNote, HTMLBody
// and a file.
func TestBodiesAreChosenAsMailClientsDo(t *testing.T) {
	type want struct{ text, html, files string }
	cases := []struct {
		name, mail string
		want       want
	}{
		{"alternative", "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nplain\n--b\nContent-Type: text/html\n\n<p>html\n--b--\n", want{"plain", "<p>html", ""}},
		{
			"related inside alternative", "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nplain\n--b\nContent-Type: multipart/related; boundary=r\n\n" +
				"--r\nContent-Type: text/html\n\n<p>html\n--r\nContent-Type: image/png\nContent-ID: <i@x>\n\nPNG\n--r--\n--b--\n", want{"plain", "<p>html", "image.png"},
		},
		{"related of HTML", "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>html\n--b\nContent-Type: image/png; name=a.png\n\nPNG\n--b--\n", want{"", "<p>html", "a.png"}},
		{"several text parts", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n", want{"one", "", "text.txt"}},
		{"HTML after text is no alternative", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>\n--b--\n", want{"one", "", "text.html"}},
		{"a list's footer", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>\n--b\n\nfooter\n--b--\n", want{"", "<p>", "text.txt"}},
		{"a named part is a file", "Content-Type: text/html; name=mail.html\n\n<p>x", want{"", "", "mail.html"}},
		{"single part offered as a file", "Content-Disposition: attachment; filename=a.txt\n\nx", want{"", "", "a.txt"}},
		{"an invitation", "Content-Type: multipart/alternative; boundary=b\n\n--b\n\none\n--b\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n--b--\n", want{"one", "", "text.ics"}},
		{"AMP", "Content-Type: multipart/alternative; boundary=b\n\n--b\n\none\n--b\nContent-Type: text/x-amp-html\n\n<html amp4email>\n--b\nContent-Type: text/html\n\n<p>\n--b--\n", want{"one", "<p>", "text.html"}},
		{"signed", "Content-Type: multipart/signed; boundary=b\n\n--b\n\none\n--b\nContent-Type: application/pgp-signature; name=signature.asc\n\nsig\n--b--\n", want{"one", "", "signature.asc"}},
		{"flowed", "Content-Type: text/plain; format=flowed; delsp=yes\n\n> quo \n> ted\njoi \nned\n", want{"> quoted\njoined", "", ""}},
		{"uuencoded", "Subject: x\n\nbefore\nbegin 644 a.bin\n%:&5L;&\\ \n`\nend\nafter", want{"before\nafter", "", "a.bin"}},
		{"TNEF alone", tnefPart + winmail(0x0002800c, "the text\x00", 0x00069003, htmlProps, 0x00069002, "", 0x0006800f, "data", 0x00018010, "A.TXT\x00"), want{"the text", "<p>x</p>", "A.TXT"}},
		{
			"TNEF beside the text", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n" + tnefPart +
				winmail(0x0002800c, "one again\x00", 0x00069003, htmlProps, 0x00069002, "", 0x0006800f, "data", 0x00018010, "A.TXT\x00") + "\n--b--\n", want{"one", "<p>x</p>", "A.TXT"},
		},
		{"winmail.dat that is none", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n" + tnefPart + "aGVsbG8=\n--b--\n", want{"one", "", "winmail.dat"}},
	}
	for _, c := range cases {
		ev, f := one(t, "From: a@example.com\n"+c.mail)
		var files []string
		for _, file := range ev.Files {
			if !file.Supplemental {
				files = append(files, file.Name)
			}
		}
		text := strings.TrimRight(strings.ReplaceAll(f["TextNote"], "\r\n", "\n"), "\n")
		assert.Equal(t, c.want, want{text, strings.TrimRight(f["HTMLBody"], "\r\n"), strings.Join(files, ",")}, c.name)
	}
}

// TestExpandedFilesAreFilesAsAny looks at what is known of a file out of
// winmail.dat, whose name comes after its content.
func TestExpandedFilesAreFilesAsAny(t *testing.T) {
	ev, f := one(t, "From: a@example.com\n"+tnefPart+winmail(0x00069002, "", 0x0006800f, "the data", 0x00018010, "..\\..\\x.exe\x00"))
	require.Len(t, ev.Files, 2)
	assert.Equal(t, "the data", content(t, ev.Files[0].Path))
	assert.EqualValues(t, 8, ev.Files[0].Size)
	assert.Equal(t, `..\..\x.exe`, f["FileName0"], "A33: data, never a path")
	assert.Equal(t, "False", f["FileIsInline0"])
	assert.Regexp(t, `ATT(_[0-9a-f]+){7}\.dat$`, ev.Files[0].Path)
	assert.NotEmpty(t, ev.Defects)
	assert.Len(t, ev.Forward().Attachments, 1)
}

// TestFlowedTextInEveryFile: the original text file has the joined lines.
func TestFlowedTextInEveryFile(t *testing.T) {
	ev, _ := one(t, "From: a@example.com\nContent-Type: text/plain; format=flowed\n\none \ntwo\n")
	assert.True(t, strings.HasSuffix(content(t, ev.OriginalTextFile()), "\n\none two\n"))
}
