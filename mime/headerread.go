package mime

import (
	"bytes"
	"strings"
)

const (
	// fieldCost is what a field takes in the index of a header.
	fieldCost = 16
	// maxAllDefects bounds the header lines that one message's defects tell of.
	maxAllDefects = 10_000
)

// header reads the header block with the empty line after it. If a delimiter
// ends it, p.hit is set.
func (p *parser) header(part *Part) error {
	p.head = p.head[:0]
	var err error
	fields := int64(0)
lines:
	for {
		if p.delimiter() {
			part.defect(DefectNoBlankLine, p.here(), "a delimiter ends the header")
			break
		}
		line, whole := p.line()
		if len(line) == 0 {
			break
		}
		if len(bytes.Trim(line[:min(len(line), 4)], "\r\n")) == 0 && whole {
			p.r += len(line)
			break
		}
		switch c := line[0]; {
		case c == ' ' || c == '\t':
		default:
			if name, _ := fieldName(line); name > 0 {
				if fields++; fields > p.limits.HeaderFields {
					err = p.limit("HeaderFields", p.limits.HeaderFields, part)
					break lines
				}
				p.headers += fieldCost
				break
			}
			junk := isMboxFrom(line) || p.junkLine(len(line), fields > 0)
			line = p.buf[p.r : p.r+len(line)] // looking ahead may have moved it
			if !junk {
				part.defect(DefectNoBlankLine, p.here(), quoteShort(string(line[:min(len(line), 2*maxQuoted)])))
				break lines
			}
		}
		size := int64(0)
		for {
			size += int64(len(line))
			if size > p.limits.LineBytes {
				err = p.limit("LineBytes", p.limits.LineBytes, part)
				break lines
			}
			if int64(len(p.head)+len(line)) > min(p.limits.HeaderBytes, 1<<31-1) {
				err = p.limit("HeaderBytes", p.limits.HeaderBytes, part)
				break lines
			}
			if p.headers += int64(len(line)); p.headers > p.limits.AllHeaderBytes {
				err = p.limit("AllHeaderBytes", p.limits.AllHeaderBytes, part)
				break lines
			}
			p.head = append(p.head, line...)
			p.r += len(line)
			if whole {
				break
			}
			line, whole = p.line()
		}
	}
	h := Header{raw: string(p.head)}
	h.fields = indexHeader(h.raw, p.limits.HeaderFields, func(code DefectCode, off int, line string) {
		at := part.Offset
		if at >= 0 {
			at += int64(off)
		}
		if p.defects++; p.defects <= maxAllDefects {
			part.defect(code, at, quoteShort(line))
		}
	})
	part.Header = h
	return err
}

// junkLine decides on a line in a header that is no field: true if fields go on
// after it, so it is to be passed over; false if the body begins here without
// the empty line.
func (p *parser) junkLine(n int, seen bool) bool {
	for p.w-p.r < n+maxBoundaryLine && p.fill() {
	}
	if n >= p.w-p.r {
		return false
	}
	next := p.buf[p.r+n : p.w]
	name, _ := fieldName(next)
	if name == 0 {
		return false
	}
	return likelyField(string(next[:min(name, 40)]), seen)
}

// likelyField reports whether a name is one that mail has; after a first field
// any name that looks like one will do.
func likelyField(name string, seen bool) bool {
	low := strings.ToLower(name)
	if strings.HasPrefix(low, "x-") || strings.HasPrefix(low, "content-") || strings.HasPrefix(low, "resent-") || strings.HasPrefix(low, "list-") {
		return true
	}
	switch low {
	case "received", "from", "to", "cc", "bcc", "subject", "date", "message-id", "return-path", "reply-to", "sender", "mime-version",
		"delivered-to", "in-reply-to", "references", "dkim-signature", "authentication-results", "status", "lines", "errors-to":
		return true
	}
	if !seen || strings.IndexByte(low, '-') <= 0 {
		return false
	}
	for i := 0; i < len(low); i++ {
		if c := low[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
