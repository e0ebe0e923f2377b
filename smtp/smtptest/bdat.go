package smtptest

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxChunk is the largest chunk that the server takes.
const maxChunk = 64 << 20

// bdat takes a chunk (RFC 3030). The octets follow the command whatever the
// server thinks of it.
func (c *conn) bdat(args string) {
	words := strings.Fields(args)
	size, err := int64(-1), error(nil)
	if len(words) > 0 {
		size, err = strconv.ParseInt(words[0], 10, 64)
	}
	last := len(words) == 2 && strings.EqualFold(words[1], "LAST")
	if err != nil || size < 0 || size > maxChunk || len(words) > 2 || len(words) == 2 && !last {
		c.violation("bad BDAT: %.60q", args)
		c.write("501 5.5.4 bad BDAT\r\n")
		c.end(drop) // where the next command begins is not known
		return
	}
	if !c.offers("CHUNKING") {
		c.violation("BDAT without CHUNKING")
	}
	chunk := make([]byte, size)
	if _, err := io.ReadFull(c.r, chunk); err != nil {
		return
	}
	if c.r.Buffered() > 0 && !c.offers("PIPELINING") {
		c.violation("data follows a chunk at once without PIPELINING")
	}
	m := c.pending
	stage := BDAT
	if last {
		stage = Dot
	}
	if m == nil || len(m.To) == 0 || c.doomed {
		if c.doomed {
			c.violation("a chunk after one was refused")
		}
		c.disorder("BDAT")
		c.stuck = true
		c.answer(stage, "503 5.5.1 out of order")
		return
	}
	m.Data = append(m.Data, chunk...)
	m.Chunks = append(m.Chunks, len(chunk))
	if !last {
		if !c.answer(BDAT, fmt.Sprintf("250 2.0.0 %d octets", size)) {
			c.doomed, c.stuck = true, true
		}
		return
	}
	m.Wire = m.Data
	c.judgeChunks(m)
	c.pending = nil
	c.stuck = !c.decide(m)
}

// judgeChunks looks at content that came in chunks.
func (c *conn) judgeChunks(m *Message) {
	if has(m.Params, "BODY=BINARYMIME") {
		return
	}
	eight := has(m.Params, "BODY=8BITMIME")
	for line := range strings.Lines(string(m.Data)) {
		body, crlf := strings.CutSuffix(line, "\r\n")
		c.judge([]byte(body), crlf, eight)
	}
}
