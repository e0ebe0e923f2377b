package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// A sample is one message of the mime benchmarks.
type sample struct{ name, raw string }

const mimeHeader = `Return-Path: <bounce-1234@lists.example.com>
Received: from mx2.example.com (mx2.example.com [192.0.2.17])
	by mail.example.net (Postfix) with ESMTPS id 4ABCDEF
	for <ann@example.net>; Mon, 2 Nov 2026 15:04:05 +0000 (UTC)
Received: from localhost (localhost [127.0.0.1])
	by mx2.example.com with ESMTP id 98ZYX; Mon, 2 Nov 2026 15:04:03 +0000
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=mail;
	h=from:to:subject:date:message-id; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
	b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB4nujc7YopdG5dWLSdNg6xNAZpOPr
From: =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <joerg@example.com>
To: "Bee, Ann" <ann@example.net>, Carl <carl@example.net>, dora@example.net
Cc: =?iso-8859-1?q?Andr=E9?= <andre@example.org>
Subject: =?utf-8?b?UmU6IEdyw7zDn2UgYXVzIGRlbSBOb3JkZW4sIGthbHQgaXN0IGVz?=
	=?utf-8?q?_und_windig?=
Date: Mon, 2 Nov 2026 16:04:01 +0100
Message-ID: <20261102150401.12345@example.com>
In-Reply-To: <first@example.net>
References: <first@example.net>
MIME-Version: 1.0
`

func prose(n int, seed uint64) string {
	words := strings.Fields("the mail arrived late in the evening and nobody read it before morning because everyone was asleep while servers kept talking to each other")
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	col := 0
	for b.Len() < n {
		w := words[r.IntN(len(words))]
		if col+len(w) > 70 {
			b.WriteString("\n")
			col = 0
		} else if col > 0 {
			b.WriteString(" ")
		}
		b.WriteString(w)
		col += len(w) + 1
	}
	return b.String() + "\n"
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func base64Lines(data []byte) string {
	s := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s + "\n"
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// smallMails is the mix of the table: everyday mail of some kilobytes.
func smallMails() []sample {
	jp := must(japanese.ISO2022JP.NewEncoder().String(strings.Repeat("お世話になっております。添付の資料をご確認ください。\n", 40)))
	gb := must(simplifiedchinese.GB18030.NewEncoder().String(strings.Repeat("您好,附件是本周的报告,请查收。谢谢!\n", 60)))
	qp := strings.Repeat("Ein Satz mit =C3=9Cbergr=C3=B6=C3=9Fe, Z=C3=A4hnen und weichem Umbruch =\nin der Mitte =E2=80=93 fast.\n", 60)
	alt := "Content-Type: multipart/alternative; boundary=\"alt\"\n\n--alt\nContent-Type: text/plain; charset=utf-8\n\n" + prose(2000, 3) +
		"\n--alt\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<html><body>" + strings.ReplaceAll(prose(3000, 4), "\n", "=20=\n") + "</body></html>\n--alt--\n"
	file := "Content-Type: application/pdf; name=\"report.pdf\"\nContent-Disposition: attachment; filename*=utf-8''%C3%9Cbersicht.pdf\nContent-Transfer-Encoding: base64\n\n" + base64Lines(noise(10_000))
	all := []sample{
		{"plain", mimeHeader + "Content-Type: text/plain; charset=us-ascii\n\n" + prose(3000, 1)},
		{"alternative", mimeHeader + alt},
		{"attachments", mimeHeader + "Content-Type: multipart/mixed; boundary=\"mix\"\n\n--mix\n" + alt + "--mix\n" + file + "--mix\n" + file + "--mix--\n"},
		{"quoted-printable", mimeHeader + "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + qp},
		{"iso-2022-jp", mimeHeader + "Content-Type: text/plain; charset=iso-2022-jp\nContent-Transfer-Encoding: 7bit\n\n" + jp},
		{"gb18030", mimeHeader + "Content-Type: text/plain; charset=gb18030\nContent-Transfer-Encoding: base64\n\n" + base64Lines([]byte(gb))},
		{"nested", mimeHeader + "Content-Type: multipart/mixed; boundary=\"o\"\n\n--o\nContent-Type: multipart/related; boundary=\"r\"\n\n--r\n" + alt +
			"--r\nContent-Type: image/png\nContent-ID: <i@example.com>\nContent-Transfer-Encoding: base64\n\n" + base64Lines(noise(2000)) + "--r--\n--o\nContent-Type: message/rfc822\n\n" + mimeHeader + alt + "--o--\n"},
	}
	for i := range all {
		all[i].raw = strings.ReplaceAll(all[i].raw, "\n", "\r\n")
	}
	return all
}

// bigMail is a text with one base64 attachment of n bytes.
func bigMail(n int) sample {
	head, tail := bigMailEnds()
	return sample{fmt.Sprintf("%dMiB", n>>20), head + strings.ReplaceAll(base64Lines(noise(n)), "\n", "\r\n") + tail}
}

func bigMailEnds() (head, tail string) {
	head = mimeHeader + "Content-Type: multipart/mixed; boundary=\"mix\"\n\n--mix\nContent-Type: text/plain\n\nhello\n--mix\n" +
		"Content-Type: application/octet-stream\nContent-Disposition: attachment; filename=big.bin\nContent-Transfer-Encoding: base64\n\n"
	return strings.ReplaceAll(head, "\n", "\r\n"), "--mix--\r\n"
}

// bigMailReader gives the mail with an attachment of about n bytes without
// holding it.
func bigMailReader(n int64) io.Reader {
	head, tail := bigMailEnds()
	block := strings.ReplaceAll(base64Lines(noise(57*1024)), "\n", "\r\n")
	return io.MultiReader(strings.NewReader(head), &repeated{block: block, left: n / (57 * 1024)}, strings.NewReader(tail))
}

type repeated struct {
	block string
	left  int64
	off   int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.block[r.off:])
	if r.off += n; r.off == len(r.block) {
		r.off = 0
		r.left--
	}
	return n, nil
}
