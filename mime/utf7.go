package mime

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// utf7 is UTF-7 (RFC 2152), which x/text lacks. It only decodes: nobody should
// write it any more.
type utf7 struct{}

func (utf7) NewDecoder() *encoding.Decoder { return &encoding.Decoder{Transformer: &utf7Decoder{}} }
func (utf7) NewEncoder() *encoding.Encoder {
	return &encoding.Encoder{Transformer: encoding.ReplaceUnsupported(encoding.Nop.NewEncoder()).Transformer}
}

// utf7Decoder holds the shift state between blocks.
type utf7Decoder struct {
	in    bool   // within "+...-"
	fresh bool   // nothing since the "+"
	bits  uint32 // pending bits of base64
	n     uint   // how many
	high  rune   // a high surrogate waiting for its partner
}

func (d *utf7Decoder) Reset() { *d = utf7Decoder{} }

func (d *utf7Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	emit := func(r rune) {
		nDst += utf8.EncodeRune(dst[nDst:], r)
	}
	for nSrc < len(src) {
		if len(dst)-nDst < 2*utf8.UTFMax { // at most a lost surrogate and a rune
			return nDst, nSrc, transform.ErrShortDst
		}
		c := src[nSrc]
		nSrc++
		if !d.in {
			switch {
			case c == '+':
				d.in, d.fresh, d.bits, d.n = true, true, 0, 0
			case c >= utf8.RuneSelf:
				emit(utf8.RuneError)
			default:
				emit(rune(c))
			}
			continue
		}
		if v := base64Value[c]; v < 64 {
			d.fresh = false
			d.bits, d.n = d.bits<<6|uint32(v), d.n+6
			if d.n >= 16 {
				d.n -= 16
				u := rune(d.bits >> d.n & 0xffff)
				d.bits &= 1<<d.n - 1
				switch {
				case d.high != 0:
					r := utf16.DecodeRune(d.high, u)
					if r == utf8.RuneError && !utf16.IsSurrogate(u) {
						emit(r)
						r = u
					}
					d.high = 0
					emit(r)
				case u >= 0xd800 && u < 0xdc00:
					d.high = u
				default:
					emit(u) // a lone low surrogate becomes U+FFFD
				}
			}
			continue
		}
		d.in = false
		if d.high != 0 {
			d.high = 0
			emit(utf8.RuneError)
		}
		switch {
		case c == '-':
			if d.fresh {
				emit('+')
			}
		case c >= utf8.RuneSelf:
			emit(utf8.RuneError)
		default:
			emit(rune(c))
		}
	}
	if atEOF && d.high != 0 {
		if len(dst)-nDst < utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		d.high = 0
		emit(utf8.RuneError)
	}
	return nDst, nSrc, nil
}
