package mime

import (
	"bytes"
	"slices"
)

// maxQPHold bounds what is held back at the end of a block: blanks, which are
// dropped if the line ends after them (RFC 2045 6.7 (3)). A longer run of them
// is kept as text.
const maxQPHold = 64 << 10

// A qpDecoder follows RFC 2045 6.7: blanks at a line's end go, soft line breaks
// go, broken escapes and raw bytes stay.
type qpDecoder struct {
	hold   []byte // the end of the last block that may change its meaning
	broken bool
}

func (d *qpDecoder) decode(dst, src []byte) []byte {
	if n := len(d.hold); n > 0 {
		d.hold = append(d.hold, src...)
		if n < maxQPHold && len(bytes.Trim(src, " \t")) == 0 && d.hold[n-1] != '=' {
			return dst // more blanks, whatever the pieces they come in
		}
		src, d.hold = d.hold, nil
	}
	dst = slices.Grow(dst, len(src))
	for len(src) > 0 {
		i := bytes.IndexByte(src, '\n')
		if i < 0 {
			k := qpSafe(src)
			if len(src)-k > maxQPHold {
				k = len(src)
			}
			dst = d.text(dst, src[:k])
			d.hold = append([]byte(nil), src[k:]...)
			break
		}
		line := src[:i]
		eol := src[i : i+1]
		if i > 0 && line[i-1] == '\r' {
			line, eol = line[:i-1], src[i-1:i+1]
		}
		src = src[i+1:]
		line = bytes.TrimRight(line, " \t")
		if n := len(line); n > 0 && line[n-1] == '=' {
			line, eol = line[:n-1], nil
		}
		dst = append(d.text(dst, line), eol...)
	}
	return dst
}

// qpSafe gives how much of the unfinished line src can be decoded now.
func qpSafe(src []byte) int {
	k := len(bytes.TrimRight(src, " \t\r"))
	if k > 0 && src[k-1] == '=' {
		return k - 1
	}
	if k == len(src) && k > 1 && src[k-2] == '=' {
		return k - 2
	}
	return k
}

// text decodes a piece without line ends.
func (d *qpDecoder) text(dst, line []byte) []byte {
	for {
		i := bytes.IndexByte(line, '=')
		if i < 0 {
			return append(dst, line...)
		}
		dst = append(dst, line[:i]...)
		line = line[i:]
		if len(line) >= 3 {
			if hi, lo := unhex(line[1]), unhex(line[2]); hi < 16 && lo < 16 {
				dst = append(dst, hi<<4|lo)
				line = line[3:]
				continue
			}
		}
		d.broken = true
		dst = append(dst, '=')
		line = line[1:]
	}
}

func (d *qpDecoder) finish(dst []byte) []byte {
	line := bytes.TrimRight(d.hold, " \t\r")
	d.hold = nil
	if n := len(line); n > 0 && line[n-1] == '=' {
		line = line[:n-1]
	}
	return d.text(dst, line)
}

func (d *qpDecoder) defect() (DefectCode, string) {
	if d.broken {
		return DefectQuotedPrintable, "an escape that is none"
	}
	return "", ""
}
