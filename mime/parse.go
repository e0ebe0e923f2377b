package mime

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	// maxDefects bounds the defects kept per part.
	maxDefects = 64
	// maxPreamble is how long the text before the first delimiter may be and
	// still be thrown away. Longer text is no preamble but a part whose
	// delimiter was lost.
	maxPreamble = 64 << 10
)

// Parse reads a message from r to its end, gives the content of its parts to
// sink and returns the tree of parts. The tree is never nil. The error is a
// read error of r, an error of the sink, or a [LimitError]; the tree up to
// there is returned with it. A nil sink discards all content.
//
// Nothing in a message is an error: see [Part.Defects]. Memory is bounded by
// the limits on headers and parts, whatever the size of the message; the time
// is linear in it.
func Parse(r io.Reader, sink Sink, opts ...Option) (*Part, error) {
	var c config
	for _, o := range opts {
		o(&c)
	}
	all := new(struct { // one allocation for what lives as long as this call
		run
		parser
		blockReader
	})
	p := &all.parser
	all.run = run{sink: sink, limits: c.limits.withDefaults(), expand: c.expand, scratch: scratchPool.Get().(*scratch)}
	p.run, p.blockReader = &all.run, &all.blockReader
	p.blockReader.init(r)
	defer p.scratch.release()
	defer p.release()
	root := &Part{}
	if p.cr {
		root.defect(DefectLineEnding, 0, "lines end in CR alone")
	}
	err := p.part(root, 0, "text/plain")
	if err == nil && p.err != nil && !errors.Is(p.err, io.EOF) {
		err = fmt.Errorf("mime: reading the message: %w", p.err)
	}
	return root, err
}

// run is what the parsers of one message share.
type run struct {
	sink    Sink
	limits  Limits
	expand  bool
	parts   int64
	decoded int64
	headers int64 // bytes kept of all headers, see Limits.AllHeaderBytes
	defects int64 // lines in headers that are no field
	*scratch
}

// scratch is memory that serves message after message.
type scratch struct {
	out  []byte // decoded block
	head []byte // header block
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// maxScratch is what one buffer may keep between messages.
const maxScratch = 4 * blockSize

func (s *scratch) release() {
	for _, b := range []*[]byte{&s.out, &s.head} {
		if cap(*b) > maxScratch {
			*b = nil
		}
	}
	scratchPool.Put(s)
}

// A parser walks one stream: the message, or a message inside of it that had
// to be decoded first.
type parser struct {
	*run
	*blockReader
	inner bool // offsets tell nothing
}

func (p *parser) limit(name string, max int64, part *Part) error {
	return &LimitError{Limit: name, Max: max, Path: part.Path}
}

func (p *Part) defect(code DefectCode, off int64, detail string) {
	if len(p.Defects) < maxDefects {
		p.Defects = append(p.Defects, Defect{code, p.Path, off, detail})
	}
}

// here is the offset of the next byte for use in the tree.
func (p *parser) here() int64 {
	if p.inner {
		return -1
	}
	return p.pos()
}

// part reads one part with everything below it. Afterwards p.hit tells what
// ended it.
func (p *parser) part(part *Part, depth int64, defaultType string) error {
	part.Offset = p.here()
	if p.parts++; p.parts > p.limits.Parts {
		return p.limit("Parts", p.limits.Parts, part)
	}
	if depth > p.limits.Depth {
		return p.limit("Depth", p.limits.Depth, part)
	}
	p.begin()
	err := p.header(part)
	start := p.pos()
	part.BodyOffset = p.here()
	p.describe(part, defaultType)
	if err != nil {
		return err
	}
	part.tnef = p.expand && p.looksLikeTNEF(part)
	w, err := p.beginPart(part)
	if err != nil {
		return err
	}
	switch {
	case w == nil && part.tnef:
		err = p.expandTNEF(part, depth)
	case p.expand && holdsFiles(part):
		err = p.textWithFiles(part, depth, w)
	case w != nil:
		err = p.leaf(part, w, nil)
	case part.IsMultipart():
		err = p.multipart(part, depth)
	case part.IsMessage():
		err = p.message(part, depth)
	default:
		err = p.leaf(part, io.Discard, nil)
	}
	part.RawSize = max(p.hit.off-start, 0)
	if !p.hit.done {
		part.RawSize = p.pos() - start
	}
	if err != nil {
		return err
	}
	return p.endPart(part)
}

func (p *parser) beginPart(part *Part) (io.Writer, error) {
	if p.sink == nil {
		return nil, nil
	}
	w, err := p.sink.Begin(part)
	if err != nil {
		return nil, fmt.Errorf("mime: part %q: %w", part.Path, err)
	}
	return w, nil
}

func (p *parser) endPart(part *Part) error {
	if p.sink == nil {
		return nil
	}
	if err := p.sink.End(part); err != nil {
		return fmt.Errorf("mime: part %q: %w", part.Path, err)
	}
	return nil
}

// leaf gives the decoded body to w; head is what was read of it before.
func (p *parser) leaf(part *Part, w io.Writer, head []byte) error {
	var dec decoder
	if !part.IsMultipart() { // RFC 2045 6.4: a multipart is never encoded
		dec = newDecoder(part.Encoding)
	}
	raw := head
	for {
		if raw == nil {
			if raw = p.chunk(); raw == nil {
				break
			}
		}
		out := raw
		if dec != nil {
			p.out = dec.decode(p.out[:0], raw)
			out = p.out
		}
		raw = nil
		if err := p.write(part, w, out); err != nil {
			return err
		}
	}
	if dec == nil {
		return nil
	}
	p.out = dec.finish(p.out[:0])
	if err := p.write(part, w, p.out); err != nil {
		return err
	}
	if code, detail := dec.defect(); code != "" {
		part.defect(code, part.BodyOffset, detail)
	}
	return nil
}

func (p *parser) write(part *Part, w io.Writer, out []byte) error {
	if len(out) == 0 {
		return nil
	}
	if p.decoded += int64(len(out)); p.decoded > p.limits.DecodedBytes {
		return p.limit("DecodedBytes", p.limits.DecodedBytes, part)
	}
	part.Size += int64(len(out))
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("mime: part %q: %w", part.Path, err)
	}
	return nil
}
