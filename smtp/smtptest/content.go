package smtptest

import (
	"bufio"
	"bytes"
	"strings"
)

func (c *conn) data() {
	m := c.pending
	if m == nil || len(m.To) == 0 {
		c.disorder("DATA")
		c.answer(DATA, "503 5.5.1 out of order")
		return
	}
	if m.Chunks != nil || has(m.Params, "BODY=BINARYMIME") {
		c.violation("DATA for a message that needs BDAT")
		c.answer(DATA, "503 5.5.1 out of order")
		return
	}
	if !c.answer(DATA, "354 go ahead") {
		return
	}
	c.pending = nil
	if c.content(m) {
		c.decide(m)
	}
}

// decide takes the message or not. The decision comes before the reply: see
// the package comment. With LMTP there is one for each recipient.
func (c *conn) decide(m *Message) (all2xx bool) {
	all := m.To
	if !c.s.lmtp {
		all = all[:1]
	}
	taken := m.To[:0:0]
	promises := true
	for i := range all {
		a, faulty := c.s.fault(Dot, c.n, c.seen[Dot]+1+i)
		if !faulty || a.accept || a.usual || a.reply && a.text[0] == '2' {
			taken = append(taken, all[i])
			promises = promises && !a.accept
		}
	}
	if len(taken) > 0 {
		if c.s.lmtp {
			m.To = taken
		}
		c.s.accept(m)
	}
	written := true
	for range all {
		written = c.answer(Dot, "250 2.0.0 taken") && written || c.s.lmtp && !c.over
	}
	if len(taken) > 0 && promises && written {
		c.s.promise(m)
	}
	return len(taken) == len(all)
}

// content reads up to the final dot. Only CRLF.CRLF ends it.
func (c *conn) content(m *Message) bool {
	declared := false
	for _, p := range m.Params {
		declared = declared || strings.EqualFold(p, "BODY=8BITMIME")
	}
	var long []byte
	start := true
	for {
		part, err := c.r.ReadSlice('\n')
		m.Wire = append(m.Wire, part...)
		if err == bufio.ErrBufferFull {
			long = append(long, part...)
			continue
		}
		if err != nil {
			return false
		}
		line := part
		if long != nil {
			line = append(long, part...)
			long = nil
		}
		body, crlf := bytes.CutSuffix(line, []byte("\r\n"))
		if crlf && start && string(body) == "." {
			return true
		}
		c.judge(body, crlf, declared)
		if string(bytes.TrimRight(line, "\r\n")) == "." {
			c.violation("a dot alone that some servers would take for the end")
		}
		if start && line[0] == '.' {
			line = line[1:]
		}
		m.Data = append(m.Data, line...)
		start = crlf
	}
}

func (c *conn) judge(body []byte, crlf, declared bool) {
	if !crlf {
		c.violation("a bare LF in the content")
	}
	if bytes.IndexByte(body, '\r') >= 0 {
		c.violation("a bare CR in the content")
	}
	if bytes.IndexByte(body, 0) >= 0 {
		c.violation("a NUL in the content")
	}
	if len(body) > 999 { // one more for the dot
		c.violation("a line of more than 998 octets")
	}
	if !declared && bytes.ContainsFunc(body, func(r rune) bool { return r >= 0x80 }) {
		c.violation("8-bit content that was not declared")
	}
}
