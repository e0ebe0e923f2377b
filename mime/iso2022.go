package mime

import (
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/transform"
)

// iso2022 is ISO-2022-KR (RFC 1557) or ISO-2022-CN (RFC 1922), which x/text
// lacks: 7-bit text in which SO and SI switch between ASCII and a charset of two
// bytes, the one that the last escape sequence named. It only decodes. Of CN the
// CNS 11643 planes are not known: their characters become U+FFFD.
type iso2022 struct{ korean bool }

func (e iso2022) NewDecoder() *encoding.Decoder {
	d := &iso2022Decoder{korean: e.korean}
	d.Reset()
	return &encoding.Decoder{Transformer: d}
}

func (iso2022) NewEncoder() *encoding.Encoder {
	return &encoding.Encoder{Transformer: encoding.ReplaceUnsupported(encoding.Nop.NewEncoder()).Transformer}
}

type iso2022Decoder struct {
	korean bool
	set    transform.Transformer // of two bytes with the high bit set; nil if unknown
	double bool                  // after SO
}

const (
	shiftOut = 0x0e
	shiftIn  = 0x0f
	escape   = 0x1b
)

func (d *iso2022Decoder) Reset() {
	*d = iso2022Decoder{korean: d.korean}
	if d.korean { // the escape sequence may be missing in a header
		d.set = korean.EUCKR.NewDecoder().Transformer
	}
}

func (d *iso2022Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < 2*utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		c := src[nSrc]
		switch {
		case c == shiftOut:
			d.double = true
		case c == shiftIn:
			d.double = false
		case c == escape:
			n, more := d.escape(src[nSrc:])
			if more && !atEOF {
				return nDst, nSrc, transform.ErrShortSrc
			}
			if n == 0 {
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
				n = 1
			}
			nSrc += n
			continue
		case c == '\n':
			d.double = false // each line starts in ASCII
			dst[nDst] = c
			nDst++
		case !d.double || c <= ' ' || c == 0x7f:
			if c >= utf8.RuneSelf {
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
				break
			}
			dst[nDst] = c
			nDst++
		default:
			if nSrc+1 >= len(src) {
				if !atEOF {
					return nDst, nSrc, transform.ErrShortSrc
				}
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
				break
			}
			n := 0
			if d.set != nil && src[nSrc+1] > ' ' {
				pair := [2]byte{c | 0x80, src[nSrc+1] | 0x80}
				n, _, _ = d.set.Transform(dst[nDst:], pair[:], true)
			}
			if n == 0 {
				n = utf8.EncodeRune(dst[nDst:], utf8.RuneError)
			}
			nDst += n
			nSrc++
		}
		nSrc++
	}
	return nDst, nSrc, nil
}

// escape reads "ESC $ ) X" and the like. It gives the length, 0 if it is none;
// more asks for more bytes.
func (d *iso2022Decoder) escape(src []byte) (n int, more bool) {
	switch {
	case len(src) < 2:
		return 0, true
	case src[1] == 'N': // single shift of CNS plane 2: two bytes that nobody can tell
		return 2, false
	case src[1] != '$':
		return 0, false
	case len(src) < 4:
		return 0, true
	case src[2] != ')' && src[2] != '*':
		return 0, false
	}
	if src[2] == ')' {
		switch src[3] {
		case 'C':
			d.set = korean.EUCKR.NewDecoder().Transformer
		case 'A':
			d.set = simplifiedchinese.GBK.NewDecoder().Transformer
		default:
			d.set = nil
		}
	}
	return 4, false
}
