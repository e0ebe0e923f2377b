package mime

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/text/transform"
)

// A converter writes what a transformer makes of its input. It is as
// transform.Writer, but borrows its buffer for each write instead of keeping
// one, since a mail has many small texts.
type converter struct {
	w     io.Writer
	t     transform.Transformer
	carry []byte // the start of a character
}

const convertSize = 4096

var convertPool = sync.Pool{New: func() any { return new([convertSize]byte) }}

// write converts p and what was carried over; last tells that nothing follows.
func (c *converter) write(p []byte, last bool) error {
	buf := convertPool.Get().(*[convertSize]byte)
	defer convertPool.Put(buf)
	for {
		k := len(c.carry)
		src := p
		if k > 0 { // join it with a few bytes, enough for any character
			src = append(c.carry[:k:k], p[:min(len(p), 16)]...)
		}
		all := len(src)-k == len(p) || k == 0
		nDst, nSrc, err := c.t.Transform(buf[:], src, last && all)
		if nDst > 0 {
			if _, werr := c.w.Write(buf[:nDst]); werr != nil {
				return werr
			}
		}
		done := all && nSrc == len(src)
		if nSrc < k {
			c.carry = c.carry[nSrc:]
		} else {
			p, c.carry = p[nSrc-k:], nil
		}
		switch {
		case err == nil && done:
			return nil
		case err == nil, errors.Is(err, transform.ErrShortDst):
		case errors.Is(err, transform.ErrShortSrc) && all:
			c.carry = append([]byte(nil), src[nSrc:]...)
			return nil
		case errors.Is(err, transform.ErrShortSrc) && (nSrc > 0 || nDst > 0):
		default:
			return err
		}
	}
}
