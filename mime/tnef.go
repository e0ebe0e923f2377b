package mime

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
)

// The signature of a TNEF stream (MS-OXTNEF 2.1.3.1), little-endian.
const tnefSignature = 0x223e9f78

// looksLikeTNEF reports whether the part is said to be TNEF, by its type or by
// the name that Outlook gives, and begins as TNEF does.
func (p *parser) looksLikeTNEF(part *Part) bool {
	switch part.Type {
	case "application/ms-tnef", "application/vnd.ms-tnef", "application/x-ms-tnef":
	case "application/octet-stream":
		if !strings.EqualFold(part.Name, "winmail.dat") && !strings.EqualFold(part.Name, "win.dat") {
			return false
		}
	default:
		return false
	}
	for p.w-p.r < sniffSize && p.fill() {
	}
	head := p.buf[p.r:min(p.w, p.r+sniffSize)]
	magic := []byte{0x78, 0x9f, 0x3e, 0x22}
	switch part.Encoding {
	case "base64":
		head = bytes.Trim(head, " \t\r\n")
		head, _ = base64.StdEncoding.AppendDecode(nil, head[:min(len(head), 8)])
	case "quoted-printable":
		head = new(qpDecoder).decode(nil, head[:min(len(head), 64)])
	}
	return bytes.HasPrefix(head, magic)
}

// tnefError is what is wrong with the data; it ends the expansion and becomes
// a defect.
type tnefError string

func (e tnefError) Error() string { return string(e) }

// expandTNEF reads a TNEF part and makes virtual parts of its bodies and files.
func (p *parser) expandTNEF(part *Part, depth int64) error {
	t := &tnef{p: p, s: &tnefSource{r: bufio.NewReader(&decodingReader{p: p, dec: newDecoder(part.Encoding)}), n: 1<<63 - 1}}
	err := t.stream(part, depth)
	if bad, torn := errors.AsType[tnefError](err); torn {
		part.defect(DefectTNEF, part.BodyOffset, string(bad))
		err = nil
	}
	for err == nil && p.chunk() != nil {
	}
	return err
}

// A tnefSource reads numbers and bytes within frames of known length.
type tnefSource struct {
	r   *bufio.Reader
	n   int64  // bytes left in the innermost frame
	sum uint16 // of all bytes read
}

// take gives the next n bytes, at most 4096, valid until the next call.
func (s *tnefSource) take(n int) ([]byte, error) {
	if int64(n) > s.n {
		return nil, tnefError("a value is longer than what holds it")
	}
	b, err := s.r.Peek(n)
	if err != nil {
		return nil, tnefError("the data ends early")
	}
	_, _ = s.r.Discard(n) // all of it is in the buffer
	s.n -= int64(n)
	for _, c := range b {
		s.sum += uint16(c)
	}
	return b, nil
}

func (s *tnefSource) number(size int) (uint32, error) {
	b, err := s.take(size)
	v := uint32(0)
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint32(b[i])
	}
	return v, err
}

// bytes gives the next n bytes, of which at most max are kept.
func (s *tnefSource) bytes(n int64, max int) ([]byte, error) {
	keep := make([]byte, 0, min(n, int64(max), 4096))
	err := s.each(n, func(b []byte) error {
		keep = append(keep, b[:min(len(b), max-len(keep))]...)
		return nil
	})
	return keep, err
}

func (s *tnefSource) skip(n int64) error { return s.each(n, func([]byte) error { return nil }) }

// each gives the next n bytes to f, piece by piece.
func (s *tnefSource) each(n int64, f func([]byte) error) error {
	for n > 0 {
		k := int(min(n, 4096))
		if buffered := s.r.Buffered(); buffered > 0 {
			k = min(k, buffered)
		}
		b, err := s.take(k)
		if err != nil {
			// What is left of a torn stream is still content.
			if rest, _ := s.r.Peek(s.r.Buffered()); int64(len(rest)) <= min(n, s.n) && len(rest) > 0 {
				_, _ = s.r.Discard(len(rest))
				if ferr := f(rest); ferr != nil {
					return ferr
				}
			}
			return err
		}
		n -= int64(k)
		if err := f(b); err != nil {
			return err
		}
	}
	return nil
}

// frame calls f with the next n bytes as all there is, and passes over what f
// leaves.
func (s *tnefSource) frame(n int64, f func() error) error {
	if n > s.n {
		return tnefError("a value is longer than what holds it")
	}
	outer := s.n - n
	s.n = n
	err := f()
	if err == nil {
		err = s.skip(s.n)
	}
	s.n = outer
	return err
}

// A tnef expands one TNEF stream, and those inside of it.
type tnef struct {
	p *parser
	s *tnefSource
}

// A tnefLevel is one stream: the message, or one attached to it.
type tnefLevel struct {
	*tnef
	part    *Part
	depth   int64
	charset string // of 8-bit text
	file    *tnefFile
	hasHTML bool
	hasBody bool
	rtf     []byte // compressed, to be used if there is no HTML
}

// A tnefFile is an attachment on its way.
type tnefFile struct {
	part  *Part
	w     io.Writer // nil before Begin
	ended bool      // it was a message, and End was called
}

// maxTNEFRTF bounds the compressed RTF that is held until it is known whether
// HTML follows; what is longer is expanded at once.
const maxTNEFRTF = 1 << 20

// stream reads a stream in the current frame (MS-OXTNEF 2.1.3).
func (t *tnef) stream(part *Part, depth int64) error {
	l := &tnefLevel{tnef: t, part: part, depth: depth, charset: "windows-1252"}
	err := l.attributes()
	err = worse(err, l.closeFile())
	return worse(err, l.heldRTF())
}

// worse gives the error that counts: one of the sink or a limit before what is
// wrong with the data.
func worse(a, b error) error {
	if a == nil || b != nil && isTorn(a) && !isTorn(b) {
		return b
	}
	return a
}

func isTorn(err error) bool {
	_, torn := errors.AsType[tnefError](err)
	return torn
}

func (l *tnefLevel) attributes() error {
	s := l.s
	if sig, err := s.number(4); err != nil || sig != tnefSignature {
		return tnefError("no signature")
	}
	if _, err := s.number(2); err != nil { // the key, of no use here
		return err
	}
	for s.n > 0 {
		if _, err := s.r.Peek(1); err != nil {
			return nil // the end, at an attribute's end
		}
		if _, err := s.number(1); err != nil { // message or attachment; the id says it too
			return err
		}
		id, err := s.number(4)
		if err != nil {
			return err
		}
		n, err := s.number(4)
		if err != nil {
			return err
		}
		sum := s.sum
		if err := s.frame(int64(n), func() error { return l.attribute(id&0xffff, int64(n)) }); err != nil {
			return err
		}
		sum = s.sum - sum
		want, err := s.number(2)
		if err != nil {
			return err
		}
		if uint16(want) != sum {
			l.part.defect(DefectTNEF, l.part.BodyOffset, "wrong checksum")
		}
	}
	return nil
}

// The attributes that are used (MS-OXTNEF 2.1.3.3), without their types.
const (
	tnefBody        = 0x800c
	tnefAttachData  = 0x800f
	tnefAttachTitle = 0x8010
	tnefRendering   = 0x9002
	tnefProps       = 0x9003
	tnefAttachProps = 0x9005
	tnefCodePage    = 0x9007
)

func (l *tnefLevel) attribute(id uint32, n int64) error {
	switch id {
	case tnefCodePage:
		cp, err := l.s.number(4)
		if err == nil {
			l.charset = codePage(cp)
		}
		return err
	case tnefBody:
		return l.body("text/plain", l.charset, n, 1)
	case tnefProps:
		return l.props(false)
	case tnefRendering: // the first attribute of each attachment
		if err := l.closeFile(); err != nil {
			return err
		}
		l.file = &tnefFile{}
	case tnefAttachData:
		return l.fileData(n)
	case tnefAttachTitle:
		name, err := l.s.bytes(n, maxTNEFText)
		if err != nil {
			return err
		}
		f, err := l.needFile()
		if err == nil && f.part.Name == "" { // the short name; the long one rules
			f.part.Name = l.string8(name)
		}
		return err
	case tnefAttachProps:
		return l.props(true)
	}
	return nil
}

// needFile gives the current attachment its part.
func (l *tnefLevel) needFile() (*tnefFile, error) {
	if l.file == nil {
		l.file = &tnefFile{}
	}
	if l.file.part == nil {
		part, err := l.p.virtual(l.part, l.depth)
		l.file.part = part
		if err != nil {
			return l.file, err
		}
		part.Type, part.Disposition = "application/octet-stream", "attachment"
	}
	return l.file, nil
}

// fileData gives n bytes to the current attachment.
func (l *tnefLevel) fileData(n int64) error {
	f, err := l.needFile()
	if err != nil || n == 0 { // an attached message has no data here
		return err
	}
	if err := l.beginFile(f); err != nil {
		return err
	}
	return l.s.each(n, func(b []byte) error { return l.p.write(f.part, f.w, b) })
}

func (l *tnefLevel) beginFile(f *tnefFile) error {
	if f.w != nil {
		return nil
	}
	w, err := l.p.beginPart(f.part)
	if f.w = w; w == nil {
		f.w = io.Discard
	}
	return err
}

func (l *tnefLevel) closeFile() error {
	f := l.file
	l.file = nil
	if f == nil || f.part == nil || f.ended {
		return nil
	}
	if err := l.beginFile(f); err != nil {
		return err
	}
	f.part.checkName()
	return l.p.endPart(f.part)
}

// body gives n bytes, of which the last terminator zero bytes are no text, to a
// virtual part.
func (l *tnefLevel) body(typ, charset string, n int64, terminator int) error {
	if typ == "text/plain" {
		if l.hasBody { // attBody and PR_BODY say the same
			return nil
		}
		l.hasBody = true
	}
	return l.emit(typ, charset, func(write func([]byte) error) error {
		var held []byte
		err := l.s.each(n, func(b []byte) error {
			b = append(held, b...)
			keep := len(bytes.TrimRight(b[max(len(b)-terminator, 0):], "\x00"))
			cut := max(len(b)-terminator, 0) + keep
			held = bytes.Clone(b[cut:])
			return write(b[:cut])
		})
		if len(held) == terminator {
			held = nil
		}
		return worse(err, write(held)) // half a terminator is the end of a character
	})
}

// emit makes a virtual text part.
func (l *tnefLevel) emit(typ, charset string, fill func(write func([]byte) error) error) error {
	part, err := l.p.virtual(l.part, l.depth)
	if err != nil {
		return err
	}
	part.Type, part.Charset = typ, charset
	part.Params = map[string]string{"charset": charset}
	w, err := l.p.beginPart(part)
	if err != nil {
		return err
	}
	if w == nil {
		w = io.Discard
	}
	err = fill(func(b []byte) error { return l.p.write(part, w, b) })
	if err != nil && !isTorn(err) {
		return err
	}
	return worse(err, l.p.endPart(part))
}

// heldRTF expands the RTF body where there was no HTML.
func (l *tnefLevel) heldRTF() error {
	rtf := l.rtf
	l.rtf = nil
	if len(rtf) == 0 || l.hasHTML {
		return nil
	}
	return l.rtfBody(bytes.NewReader(rtf))
}

// rtfBody makes HTML of compressed RTF that was made from HTML, else text.
func (l *tnefLevel) rtfBody(r io.Reader) error {
	z := newRTFReader(r)
	typ := "text/plain"
	if z.fromHTML() {
		typ = "text/html"
		l.hasHTML = true
	} else if l.hasBody {
		return nil // the text was there already
	}
	l.hasBody = true
	if err := l.emit(typ, "utf-8", z.convert); err != nil {
		return err
	}
	if z.torn {
		l.part.defect(DefectRTF, l.part.BodyOffset, "")
	}
	return nil
}
