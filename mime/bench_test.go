package mime

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"testing"
)

func benchMessage() string {
	return crlf(`Return-Path: <a@example.com>
Received: from mx.example.com (mx.example.com [192.0.2.1])
	by mail.example.net with ESMTPS id 1; Mon, 2 Jan 2026 15:04:05 +0000
From: =?utf-8?q?J=C3=B6rg?= <a@example.com>
To: "Bee, Ann" <b@example.com>, c@example.com
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= and more
Date: Mon, 2 Jan 2026 15:04:05 +0000
Message-ID: <1@example.com>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

--outer
Content-Type: multipart/alternative; boundary="inner"

--inner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

` + strings.Repeat("Ein Satz mit =C3=9Cbergr=C3=B6=C3=9Fe und weichem Umbruch =\nin der Mitte.\n", 30) + `
--inner
Content-Type: text/html; charset=utf-8

` + strings.Repeat("<p>some paragraph of text</p>\n", 60) + `
--inner--
--outer
Content-Type: application/pdf; name="x.pdf"
Content-Disposition: attachment; filename="x.pdf"
Content-Transfer-Encoding: base64

` + wrap76(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("0123456789"), 1000))) + `
--outer--
`)
}

func wrap76(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s
}

type discardSink struct{}

func (discardSink) Begin(p *Part) (io.Writer, error) {
	if p.IsContainer() {
		return nil, nil
	}
	return io.Discard, nil
}
func (discardSink) End(*Part) error { return nil }

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, msg string }{
		{"small", benchMessage()},
		{"1MiB", crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n" +
			wrap76(base64.StdEncoding.EncodeToString(make([]byte, 1<<20))) + "\n--b--\n")},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(strings.NewReader(c.msg), discardSink{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A small message costs few allocations, because each of them is paid again
// for every mail of a mailbox.
func TestParseAllocations(t *testing.T) {
	msg := benchMessage()
	n := testing.AllocsPerRun(50, func() { _, _ = Parse(strings.NewReader(msg), discardSink{}) })
	if n > 100 {
		t.Errorf("%v allocations for a small message", n)
	}
}
