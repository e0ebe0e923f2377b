package mime

import (
	"bytes"
	"encoding/binary"
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
	quad [4]byte // sextets not yet written
	n    int

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

// fast decodes all whole quanta at once; line ends are passed over, and what is
// neither goes the slow way, up to a whole quantum.
func (d *base64Decoder) fast(dst, src []byte) []byte {
	dst = slices.Grow(dst, len(src)/4*3+base64Slack)
	for len(src) > 0 {
		if d.n == 0 {
			n := len(dst)
			read, wrote := decodeQuads(dst[n:cap(dst)], src)
			dst, src = dst[:n+wrote], src[read:]
			switch {
			case len(src) == 0:
				return dst
			case src[0] == '\n':
				src = src[1:]
				continue
			case len(src) > 1 && src[0] == '\r' && src[1] == '\n':
				src = src[2:]
				continue
			}
		}
		k := min(4-d.n, len(src))
		dst = slices.Grow(d.slow(dst, src[:k]), len(src)/4*3+base64Slack)
		src = src[k:]
	}
	return dst
}

// base64Slack is what decodeQuads may write beyond what it decodes.
const base64Slack = 8

// base64Quads maps the bytes of a quantum to their bits, one table for each
// place; base64Bad marks what is not in the alphabet.
var base64Quads = func() (t [4][256]uint32) {
	for i, v := range base64Value {
		for k := range t {
			if v < 64 {
				t[k][i] = uint32(v) << (18 - 6*k)
			} else {
				t[k][i] = base64Bad
			}
		}
	}
	return t
}()

const base64Bad = 1 << 24

// decodeQuads decodes whole quanta up to the first byte outside the alphabet.
// dst must have room for them and base64Slack more.
func decodeQuads(dst, src []byte) (read, wrote int) {
	t := &base64Quads
	for len(src)-read >= 8 && len(dst)-wrote >= 8 {
		s, o := src[read:read+8:read+8], dst[wrote:wrote+8:wrote+8]
		a := t[0][s[0]] | t[1][s[1]] | t[2][s[2]] | t[3][s[3]]
		b := t[0][s[4]] | t[1][s[5]] | t[2][s[6]] | t[3][s[7]]
		if (a|b)&base64Bad != 0 {
			break
		}
		binary.BigEndian.PutUint64(o, uint64(a)<<40|uint64(b)<<16)
		read, wrote = read+8, wrote+6
	}
	for len(src)-read >= 4 && len(dst)-wrote >= 4 {
		s := src[read : read+4 : read+4]
		a := t[0][s[0]] | t[1][s[1]] | t[2][s[2]] | t[3][s[3]]
		if a&base64Bad != 0 {
			break
		}
		binary.BigEndian.PutUint32(dst[wrote:], a<<8)
		read, wrote = read+4, wrote+3
	}
	return read, wrote
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
