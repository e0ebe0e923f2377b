package smtp

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// measure notes the facts of binary content, which passes as it is.
type measure struct {
	facts
	line int
	cr   bool // the last octet was a CR
}

// Write never fails.
func (m *measure) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	m.eightBit = m.eightBit || hasEightBit(p)
	m.nul = m.nul || bytes.IndexByte(p, 0) >= 0
	for rest := p; len(rest) > 0; {
		if m.cr && rest[0] != '\n' {
			m.bare = true
		}
		lf := bytes.IndexByte(rest, '\n')
		if lf < 0 {
			m.bare = m.bare || bytes.IndexByte(rest[:len(rest)-1], '\r') >= 0
			m.line += len(rest)
			m.longest = max(m.longest, m.line)
			m.cr = rest[len(rest)-1] == '\r'
			return len(p), nil
		}
		ended := lf > 0 && rest[lf-1] == '\r' || lf == 0 && m.cr
		m.bare = m.bare || !ended || lf > 1 && bytes.IndexByte(rest[:lf-1], '\r') >= 0
		m.longest = max(m.longest, m.line+lf-1)
		m.line, m.cr = 0, false
		rest = rest[lf+1:]
	}
	return len(p), nil
}

// A headerWatch looks whether a header, seen in blocks, is UTF-8 beyond ASCII.
type headerWatch struct {
	head []byte
	done bool
}

// see takes the next block of canonical content and reports whether more of
// the header is to come.
func (h *headerWatch) see(p []byte) {
	if h.done {
		return
	}
	if len(h.head) == 0 {
		// Nearly always the header comes whole, and is plain.
		if i := bytes.Index(p[:min(len(p), maxHeaderScan)], []byte("\r\n\r\n")); i >= 0 && !hasEightBit(p[:i]) {
			h.done = true
			return
		}
	}
	from := max(0, len(h.head)-3)
	h.head = append(h.head, p[:min(len(p), maxHeaderScan-len(h.head))]...)
	if i := bytes.Index(h.head[from:], []byte("\r\n\r\n")); i >= 0 {
		h.head, h.done = h.head[:from+i], true
	}
	h.done = h.done || len(h.head) >= maxHeaderScan
}

// utf8 reports what was found. A header in some other charset is none of RFC
// 6532: it cannot be declared.
func (h *headerWatch) utf8() bool { return hasEightBit(h.head) && utf8.Valid(h.head) }

func hasEightBit(p []byte) bool {
	const high = 0x8080808080808080
	for ; len(p) >= 32; p = p[32:] {
		if (binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[8:])|
			binary.LittleEndian.Uint64(p[16:])|binary.LittleEndian.Uint64(p[24:]))&high != 0 {
			return true
		}
	}
	for _, b := range p {
		if b >= 0x80 {
			return true
		}
	}
	return false
}
