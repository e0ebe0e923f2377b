package mime

import (
	"bytes"
	"encoding/base64"
	"slices"
)

// A decoder undoes a transfer encoding block by block. Nothing in its input is
// an error: what is wrong is skipped or kept, and defect says so.
type decoder interface {
	// decode appends the decoded form of src to dst.
	decode(dst, src []byte) []byte
	// finish appends what is left at the end.
	finish(dst []byte) []byte
	// defect is what was wrong so far, "" for nothing.
	defect() (DefectCode, string)
}

// newDecoder gives the decoder of a transfer encoding, nil for those that
// change nothing.
func newDecoder(encoding string) decoder {
	switch encoding {
	case "base64":
		return new(base64Decoder)
	case "quoted-printable":
		return new(qpDecoder)
	case "x-uuencode", "uuencode", "x-uue", "uue":
		return new(uuDecoder)
	}
	return nil
}

// base64Value maps a byte to its six bits, or to one of the marks above 63.
var base64Value = func() (t [256]byte) {
	for i := range t {
		t[i] = base64Foreign
	}
	for _, c := range " \t\r\n" {
		t[c] = base64Blank
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = byte(i)
	}
	return t
}()

const (
	base64Blank   = 64
	base64Foreign = 65
	// maxBase64Tail bounds the line after the padding that is held back until
	// it shows whether it is more base64 or foreign text.
	maxBase64Tail = 1024
)

// A base64Decoder follows RFC 2045 6.8: characters outside the alphabet are
// passed over. After the padding a line that can only be base64 is more data
// (joined pieces), any other ends the data (footers of mailing lists).
type base64Decoder struct {
	quad    [4]byte // sextets not yet written
	n       int
	scratch []byte

	padded bool // padding was seen and no data since
	resume bool // data may follow the padding on this line
	ended  bool
	tail   []byte

	foreign, torn, trailing bool
}

func (d *base64Decoder) decode(dst, src []byte) []byte {
	if d.ended {
		return dst
	}
	if d.padded || d.n > 0 {
		// Bring the state to a whole quantum, then the fast way is open.
		i := 0
		for i < len(src) && (d.padded || d.n > 0) && !d.ended {
			k := i + 1
			for k < len(src) && k-i < 4-d.n {
				k++
			}
			dst = d.slow(dst, src[i:k])
			i = k
		}
		src = src[i:]
	}
	if len(src) == 0 || d.ended {
		return dst
	}
	s := d.scratch[:0]
	for rest := src; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		line := rest
		if i >= 0 {
			line, rest = rest[:i], rest[i+1:]
			if i > 0 && line[i-1] == '\r' {
				line = line[:i-1]
			}
		} else {
			rest = nil
			if len(line) > 0 && line[len(line)-1] == '\r' {
				line = line[:len(line)-1]
			}
		}
		s = append(s, line...)
	}
	d.scratch = s
	whole := len(s) &^ 3
	dst = slices.Grow(dst, whole/4*3)
	n, err := base64.RawStdEncoding.Decode(dst[len(dst):cap(dst)], s[:whole])
	if err != nil {
		return d.slow(dst, src)
	}
	dst = dst[:len(dst)+n]
	return d.slow(dst, s[whole:])
}

// slow decodes byte by byte, for everything that is not clean base64.
func (d *base64Decoder) slow(dst, src []byte) []byte {
	for _, c := range src {
		if d.ended {
			return dst
		}
		if c == '\n' {
			if d.padded && len(d.tail) > 0 {
				dst = d.judgeTail(dst)
			}
			d.resume = false
			continue
		}
		if d.padded && !d.resume {
			if base64Value[c] != base64Blank && (c != '=' || len(d.tail) > 0) {
				if d.tail = append(d.tail, c); len(d.tail) > maxBase64Tail {
					d.ended, d.trailing = true, true
				}
			} else if len(d.tail) > 0 && c != '\r' {
				d.tail = append(d.tail, ' ')
			}
			continue
		}
		dst = d.one(dst, c)
	}
	return dst
}

func (d *base64Decoder) one(dst []byte, c byte) []byte {
	v := base64Value[c]
	switch {
	case v < 64:
		d.padded = false
		d.quad[d.n] = v
		if d.n++; d.n == 4 {
			d.n = 0
			return append(dst, d.quad[0]<<2|d.quad[1]>>4, d.quad[1]<<4|d.quad[2]>>2, d.quad[2]<<6|d.quad[3])
		}
	case c == '=':
		switch {
		case d.n >= 2:
			dst = d.flush(dst)
			d.padded = true
		case d.n == 1:
			d.foreign = true
		}
	case v == base64Foreign:
		d.foreign = true
	}
	return dst
}

// judgeTail decides whether the line after the padding is more data.
func (d *base64Decoder) judgeTail(dst []byte) []byte {
	t := bytes.TrimRight(d.tail, " ")
	d.tail = nil
	for _, c := range t {
		if base64Value[c] > 63 && c != '=' {
			d.ended, d.trailing = true, true
			return dst
		}
	}
	if len(t)%4 != 0 {
		d.ended, d.trailing = true, true
		return dst
	}
	d.padded = false
	for _, c := range t {
		dst = d.one(dst, c)
	}
	return dst
}

// flush writes a quantum that is not full.
func (d *base64Decoder) flush(dst []byte) []byte {
	switch d.n {
	case 2:
		dst = append(dst, d.quad[0]<<2|d.quad[1]>>4)
	case 3:
		dst = append(dst, d.quad[0]<<2|d.quad[1]>>4, d.quad[1]<<4|d.quad[2]>>2)
	}
	d.n = 0
	return dst
}

func (d *base64Decoder) finish(dst []byte) []byte {
	if d.padded && len(d.tail) > 0 {
		dst = d.judgeTail(dst)
	}
	d.torn = d.torn || d.n > 0
	return d.flush(dst)
}

func (d *base64Decoder) defect() (DefectCode, string) {
	switch {
	case d.trailing:
		return DefectBase64, "other text after the padding"
	case d.foreign:
		return DefectBase64, "characters outside the alphabet"
	case d.torn:
		return DefectBase64, "padding missing at the end"
	}
	return "", ""
}

// maxQPHold bounds what is held back at the end of a block.
const maxQPHold = 4096

// A qpDecoder follows RFC 2045 6.7: blanks at a line's end go, soft line breaks
// go, broken escapes and raw bytes stay.
type qpDecoder struct {
	hold        []byte // the end of the last block that may change its meaning
	broken, raw bool
}

func (d *qpDecoder) decode(dst, src []byte) []byte {
	if len(d.hold) > 0 {
		src = append(d.hold, src...)
		d.hold = nil
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
