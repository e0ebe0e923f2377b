package mime

import (
	"bytes"
	"encoding/base64"
	"slices"
)

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
	// Padding ends the part that can be decoded at once.
	var end []byte
	if i := bytes.IndexByte(src, '='); i >= 0 {
		src, end = src[:i], src[i:]
	}
	return d.slow(d.fast(dst, src), end)
}

// fast takes the line ends out and decodes all at once; what is not clean goes
// the slow way.
func (d *base64Decoder) fast(dst, src []byte) []byte {
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
	if err != nil || n != whole/4*3 { // a CR inside is skipped without an error
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
