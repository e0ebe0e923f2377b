package mime

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

const (
	// blockSize is how much of a message is held at a time.
	blockSize = 64 << 10
	// maxBoundary bounds a boundary; RFC 2046 5.1.1 allows 70 characters.
	maxBoundary = 1000
	// maxBoundaryLine bounds a line that may be a delimiter: boundary, dashes
	// and the blanks that transport may add.
	maxBoundaryLine = 4096
	// sniffSize is how much is looked at for the kind of line ends.
	sniffSize = 4096
	// maxEmptyReads is how often in a row a reader may give nothing.
	maxEmptyReads = 100
)

var blockPool = sync.Pool{New: func() any { b := make([]byte, blockSize); return &b }}

// A blockReader reads a message block by block and finds line ends and
// delimiters in the block, without copying lines.
type blockReader struct {
	src    io.Reader
	buf    []byte
	pooled *[]byte // buf's place in the pool
	r, w   int
	off    int64 // offset of buf[0] in the stream
	err    error // what ended the stream, io.EOF mostly
	cr     bool  // lines end in CR alone; it is made LF, so that offsets hold

	bol    bool // buf[r] starts a line, and no line end before it is held back
	bounds []string
	hit    hit
}

// A hit is what ended a body: a delimiter of one of the boundaries, or (level
// -1) the end of the stream.
type hit struct {
	level   int
	closing bool
	off     int64 // where the line end before the delimiter starts
	done    bool
}

func newBlockReader(src io.Reader) *blockReader {
	b := new(blockReader)
	b.init(src)
	return b
}

func (b *blockReader) init(src io.Reader) {
	pooled := blockPool.Get().(*[]byte)
	*b = blockReader{src: src, pooled: pooled, buf: *pooled, bol: true}
	for b.w <= sniffSize && b.fill() {
	}
	// No more than that counts, however much came at once; the byte behind it
	// tells whether a CR at its end belongs to a CRLF.
	head := b.buf[:min(b.w, sniffSize+1)]
	if bytes.IndexByte(head[:min(len(head), sniffSize)], '\r') >= 0 && bytes.IndexByte(head, '\n') < 0 {
		b.cr = true
		crToLF(b.buf[:b.w])
	}
}

func (b *blockReader) release() {
	b.buf = nil
	blockPool.Put(b.pooled)
}

func crToLF(p []byte) {
	for i, c := range p {
		if c == '\r' {
			p[i] = '\n'
		}
	}
}

// pos is the offset of the next byte.
func (b *blockReader) pos() int64 { return b.off + int64(b.r) }

// fill reads more behind what is there; false at the end of the stream or
// when the block is full.
func (b *blockReader) fill() bool {
	if b.err != nil {
		return false
	}
	if b.r > 0 {
		copy(b.buf, b.buf[b.r:b.w])
		b.off += int64(b.r)
		b.w -= b.r
		b.r = 0
	}
	if b.w == len(b.buf) {
		return false
	}
	for range maxEmptyReads {
		n, err := b.src.Read(b.buf[b.w:])
		if n < 0 || n > len(b.buf)-b.w {
			b.err = errors.New("mime: reader returned an impossible count")
			return false
		}
		if b.cr {
			crToLF(b.buf[b.w : b.w+n])
		}
		b.w += n
		if err != nil {
			b.err = err
		}
		if n > 0 || err != nil {
			return n > 0
		}
	}
	b.err = io.ErrNoProgress
	return false
}

// line gives the next physical line with its end, or a piece of it if it is
// longer than the block; nil at the end. It is valid until the next call and is
// not consumed.
func (b *blockReader) line() (line []byte, whole bool) {
	from := 0
	for {
		data := b.buf[b.r:b.w]
		if i := bytes.IndexByte(data[from:], '\n'); i >= 0 {
			return data[:from+i+1], true
		}
		from = len(data)
		if !b.fill() {
			return b.buf[b.r:b.w], b.err != nil
		}
	}
}

// match tests whether data, which starts with "--" at the start of a line, is
// a delimiter line of one of the open boundaries; n is its length. more asks
// for more data.
func (b *blockReader) match(data []byte) (h hit, n int, more bool) {
	h.level = -1
	i := bytes.IndexByte(data[:min(len(data), maxBoundaryLine)], '\n')
	switch {
	case i >= 0:
		n = i + 1
	case len(data) >= maxBoundaryLine:
		return h, 0, false
	case b.err == nil:
		return h, 0, true
	default:
		n = len(data)
	}
	line := bytes.TrimRight(data[2:n], " \t\r\n")
	for l := len(b.bounds) - 1; l >= 0; l-- {
		switch bd := b.bounds[l]; len(line) - len(bd) {
		case 0:
			if string(line) == bd {
				h.level = l
				return h, n, false
			}
		case 2:
			if string(line[:len(bd)]) == bd && line[len(bd)] == '-' && line[len(bd)+1] == '-' {
				h.level, h.closing = l, true
				return h, n, false
			}
		}
	}
	return h, n, false
}

// delimiter consumes a delimiter line that starts at the next byte, if there
// is one, and sets b.hit.
func (b *blockReader) delimiter() bool {
	if len(b.bounds) == 0 {
		return false
	}
	for {
		data := b.buf[b.r:b.w]
		if len(data) >= 2 || b.err != nil {
			if len(data) < 2 || data[0] != '-' || data[1] != '-' {
				return false
			}
			h, n, more := b.match(data)
			if !more {
				if h.level < 0 {
					return false
				}
				h.off, h.done = b.pos(), true
				b.r += n
				b.hit, b.bol = h, true
				return true
			}
		}
		if !b.fill() && b.err == nil {
			return false // the block is full, which no delimiter line can do
		}
	}
}

// begin starts a new body at the next byte, which must start a line.
func (b *blockReader) begin() { b.bol, b.hit = true, hit{} }

// chunk gives the next piece of the body, nil at its end; b.hit then tells what
// ended it. The line end before a delimiter belongs to the delimiter (RFC 2046
// 5.1.1). The piece is valid until the next call.
func (b *blockReader) chunk() []byte {
	if b.hit.done {
		return nil
	}
	if b.bol {
		if b.delimiter() {
			return nil
		}
		b.bol = false
	}
	from := 0
	for {
		data := b.buf[b.r:b.w]
		if len(b.bounds) == 0 {
			if len(data) > 0 {
				b.r = b.w
				return data
			}
			if !b.fill() {
				return b.end()
			}
			continue
		}
		i := indexDelimiter(data, from)
		if i < 0 {
			k := len(data)
			if b.err == nil {
				k = holdBack(data)
			}
			if k > 0 {
				b.r += k
				return data[:k]
			}
			from = 0
			if !b.fill() && (b.err != nil && b.r == b.w) {
				return b.end()
			}
			continue
		}
		h, n, more := b.match(data[i+1:])
		if h.level < 0 && !more {
			from = i + 1
			continue
		}
		k := i
		if k > 0 && data[k-1] == '\r' {
			k--
		}
		if k > 0 {
			b.r += k
			return data[:k]
		}
		if more {
			if !b.fill() && b.err == nil {
				from = i + 1
			}
			continue
		}
		h.off, h.done = b.pos(), true
		b.r += i + 1 + n
		b.hit, b.bol = h, true
		return nil
	}
}

// indexDelimiter finds the next line end, from where on it looks, that "--"
// follows. It looks for the dash, which base64 does not have and text seldom.
func indexDelimiter(data []byte, from int) int {
	for i := from + 1; i < len(data); {
		k := bytes.IndexByte(data[i:], '-')
		if k < 0 {
			return -1
		}
		i += k
		if data[i-1] == '\n' && i+1 < len(data) && data[i+1] == '-' {
			return i - 1
		}
		for i++; i < len(data) && data[i] == '-'; i++ { // lines of dashes
		}
	}
	return -1
}

// holdBack is how much of data can't be the start of a delimiter with its line
// end before it.
func holdBack(data []byte) int {
	k := len(data)
	if k > 1 && data[k-1] == '-' && data[k-2] == '\n' {
		k--
	}
	if k > 0 && data[k-1] == '\n' {
		k--
	}
	if k > 0 && data[k-1] == '\r' {
		k--
	}
	return k
}

func (b *blockReader) end() []byte {
	b.hit = hit{level: -1, off: b.pos(), done: true}
	return nil
}
