package drivertest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

// A mail is a message of the suite, with what must come of it.
type mail struct {
	subject    string
	raw        []byte
	attachment []byte
}

// newMail makes a message that has something of what goes wrong in transport:
// leading dots, a lone dot, 8-bit text, a long line, trailing blanks, and a
// binary attachment of some size.
func newMail(subject string, size int) *mail {
	r := rand.New(rand.NewPCG(uint64(len(subject)), uint64(size)))
	m := &mail{subject: subject, attachment: make([]byte, size)}
	for i := range m.attachment {
		m.attachment[i] = byte(r.Uint32())
	}
	copy(m.attachment, subject)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Ann Example <ann@example.com>\r\nTo: desk@example.com\r\nSubject: %s\r\n", subject)
	fmt.Fprintf(&b, "Message-ID: <%s@drivertest.example>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n", subject)
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=drivertest\"\r\n\r\n")
	b.WriteString("--=drivertest\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	b.WriteString("Hello,\r\n.\r\n..\r\n.leading dot\r\ntrailing blanks  \t\r\nGr\u00fc\u00dfe\r\n\r\n" + strings.Repeat("x", 900) + "\r\n")
	b.WriteString("--=drivertest\r\nContent-Type: application/octet-stream; name=\"data.bin\"\r\n")
	b.WriteString("Content-Disposition: attachment; filename=\"data.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	text := base64.StdEncoding.EncodeToString(m.attachment)
	for len(text) > 0 {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	b.WriteString("--=drivertest--\r\n")
	m.raw = b.Bytes()
	return m
}
