package smtp

import (
	"bytes"
	"io"
)

// facts is what the engine must know of a content before MAIL.
type facts struct {
	size       int64 // in canonical form
	eightBit   bool
	nul        bool
	bare       bool // a CR or LF that is no line end, which only binary content has
	utf8Header bool // the header is UTF-8 beyond ASCII (RFC 6532)
	longest    int  // longest line in octets, without CRLF
}

// A canonicalizer is the one place where content gets its line ends: it writes
// through to w with every bare CR, bare LF and CR CR LF made CRLF (RFC 5321
// section 2.3.8), so that no two servers can see the end of the message in
// different places (A09, A10). It works on blocks: canonical content passes
// without being copied.
type canonicalizer struct {
	w io.Writer
	facts
	crs  int // carriage returns read and not yet written
	line int // octets of the current line
}

var crlf = []byte("\r\n")

// Write never keeps p.
func (c *canonicalizer) Write(p []byte) (int, error) {
	if hasEightBit(p) {
		c.eightBit = true
	}
	if bytes.IndexByte(p, 0) >= 0 {
		c.nul = true
	}
	total := len(p)
	if c.crs > 0 && total > 0 {
		n, err := c.resolve(p)
		if err != nil {
			return 0, err
		}
		p = p[n:]
	}
	start := 0 // p[start:i] is canonical and unwritten
	for i := 0; i < len(p); {
		lf := bytes.IndexByte(p[i:], '\n')
		end := len(p)
		if lf >= 0 {
			end = i + lf
		}
		cr := bytes.IndexByte(p[i:end], '\r')
		switch {
		case cr < 0 && lf < 0: // the block ends within a line
			c.line += end - i
			i = end
		case cr < 0: // a bare LF
			c.endLine(end - i)
			if err := c.put(p[start:end], crlf); err != nil {
				return 0, err
			}
			i = end + 1
			start = i
		case lf >= 0 && i+cr == end-1: // CRLF
			c.endLine(cr)
			i = end + 1
		default: // a CR that is not followed by LF, or the block's end is too near
			at := i + cr
			c.line += cr
			if err := c.put(p[start:at]); err != nil {
				return 0, err
			}
			n := at
			for n < len(p) && p[n] == '\r' {
				n++
			}
			c.crs = n - at
			if n < len(p) {
				m, err := c.resolve(p[n:])
				if err != nil {
					return 0, err
				}
				n += m
			}
			i, start = n, n
		}
	}
	return total, c.put(p[start:])
}

// resolve writes what the waiting carriage returns mean, now that the next
// octets are known, and returns how many of these it took. Any number of CRs
// before an LF is one line end; others are a line end each.
func (c *canonicalizer) resolve(next []byte) (int, error) {
	n := 0
	for n < len(next) && next[n] == '\r' {
		n++
	}
	c.crs += n
	if n == len(next) && n > 0 {
		return n, nil
	}
	if n < len(next) && next[n] == '\n' {
		c.crs = 0
		c.endLine(0)
		return n + 1, c.put(crlf)
	}
	for ; c.crs > 0; c.crs-- {
		c.endLine(0)
		if err := c.put(crlf); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Close ends the content, with a line end if it lacks one.
func (c *canonicalizer) Close() error {
	if _, err := c.resolve(nil); err != nil {
		return err
	}
	if c.line > 0 {
		c.endLine(0)
		return c.put(crlf)
	}
	return nil
}

func (c *canonicalizer) endLine(more int) {
	c.longest = max(c.longest, c.line+more)
	c.line = 0
}

func (c *canonicalizer) put(parts ...[]byte) error {
	for _, p := range parts {
		if len(p) == 0 {
			continue
		}
		c.size += int64(len(p))
		if _, err := c.w.Write(p); err != nil {
			return err
		}
	}
	return nil
}
