package netx

import (
	"bytes"
	"net"
	"strings"
	"sync"
)

// maxHTTPLine is how much of a request or status line is kept.
const maxHTTPLine = 512

// A tracedConn is a connection that was handed over to net/http: its trace shows
// the request and status lines, without queries, and counts all else. Header
// fields hold logins and cookies, and bodies hold mail.
type tracedConn struct {
	net.Conn
	trace *Trace

	mu   sync.Mutex
	dir  byte   // who spoke last
	line []byte // of the first line so far
	open bool   // it has not ended
}

func (c *tracedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.saw('S', p[:n])
	return n, err
}

func (c *tracedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.saw('C', p[:n])
	return n, err
}

func (c *tracedConn) Close() error {
	err := c.Conn.Close()
	c.trace.end(nil)
	return err
}

// saw notes bytes. Whoever begins to speak begins with a line of HTTP; what does
// not look like one is not shown.
func (c *tracedConn) saw(dir byte, p []byte) {
	if len(p) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if dir != c.dir {
		c.dir, c.line, c.open = dir, c.line[:0], true
	}
	if c.open {
		head, rest, ended := bytes.Cut(p, []byte("\r\n"))
		c.line = append(c.line, head[:min(len(head), maxHTTPLine-len(c.line))]...)
		if !ended && len(c.line) < maxHTTPLine {
			return
		}
		c.open = false
		if text := httpLine(string(c.line)); text != "" {
			c.trace.Line(dir, []byte(text))
		} else {
			rest = p
		}
		p = rest
	}
	c.trace.Content(dir, len(p))
}

// httpLine is what is shown of a line: method, path without query and version,
// or version, status and reason; "" if it is neither.
func httpLine(line string) string {
	if strings.HasPrefix(line, "HTTP/1.") {
		return line
	}
	words := strings.Split(line, " ")
	if len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/1.") || strings.Trim(words[0], "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return ""
	}
	path, _, query := strings.Cut(words[1], "?")
	if query {
		path += "?..."
	}
	return words[0] + " " + path + " " + words[2]
}
