package mime

import (
	"bytes"
	"io"
)

// maxBeginLine bounds a line that begins a file in text.
const maxBeginLine = 1024

// holdsFiles reports whether files are looked for in a part: in text that is
// read, not in text files.
func holdsFiles(part *Part) bool {
	return part.Type == "text/plain" && part.Name == "" && part.Disposition != "attachment"
}

// textWithFiles is leaf for text in which files may stand.
func (p *parser) textWithFiles(part *Part, depth int64, w io.Writer) error {
	if w == nil {
		w = io.Discard
	}
	f := &fileFinder{p: p, part: part, depth: depth, w: w, bol: true}
	if err := p.leaf(part, f, nil); err != nil {
		return err
	}
	return f.finish()
}

// A fileFinder passes text on and cuts the files out of it.
type fileFinder struct {
	p     *parser
	part  *Part
	depth int64
	w     io.Writer

	bol   bool   // the next byte starts a line
	hold  []byte // an unfinished line that may matter
	begin []byte // a begin line whose first data line is awaited
	file  fileDecoder
	child *Part
	to    io.Writer
	out   []byte
}

// A fileDecoder reads the lines of one file.
type fileDecoder interface {
	// line appends what a line, with its end, holds. done tells that the file
	// is over; used is false if the line is not the file's any more.
	line(dst, line []byte) (out []byte, used, done bool)
	// pieces tells that lines may be given in pieces.
	pieces() bool
	// defect is what was wrong, "" for nothing.
	defect() (DefectCode, string)
}

func (f *fileFinder) Write(p []byte) (int, error) {
	n := len(p)
	if len(f.hold) > 0 {
		p = append(f.hold, p...)
		f.hold = nil
	}
	for len(p) > 0 {
		var err error
		if f.file == nil && f.begin == nil {
			p, err = f.text(p)
		} else {
			p, err = f.inFile(p)
		}
		if err != nil {
			return 0, err
		}
		if len(f.hold) > 0 {
			break
		}
	}
	return n, nil
}

// text passes on text up to a begin line, or up to an unfinished line that may
// be one.
func (f *fileFinder) text(p []byte) ([]byte, error) {
	for from := 0; ; {
		i := bytes.Index(p[from:], fileBegin)
		if i < 0 {
			break
		}
		i += from
		from = i + len(fileBegin)
		if i >= 2 && string(p[i-2:i]) == "=y" {
			i -= 2
		}
		if i > 0 && p[i-1] != '\n' || i == 0 && !f.bol {
			continue
		}
		end := bytes.IndexByte(p[i:], '\n')
		switch {
		case end < 0 && len(p)-i < maxBeginLine:
			f.hold = bytes.Clone(p[i:])
			return nil, f.pass(p[:i])
		case end < 0 || end >= maxBeginLine:
			continue
		}
		line := p[i : i+end+1]
		if !isUUBegin(line) && !isYEncBegin(line) {
			continue
		}
		f.begin = bytes.Clone(line)
		return p[i+end+1:], f.pass(p[:i])
	}
	tail := bytes.LastIndexByte(p, '\n') + 1
	if rest := p[tail:]; len(rest) > 0 && len(rest) < len("=y")+len(fileBegin) && (tail > 0 || f.bol) &&
		(bytes.HasPrefix(fileBegin, rest) || bytes.HasPrefix([]byte("=ybegin "), rest)) {
		f.hold = bytes.Clone(rest)
		p = p[:tail]
	}
	return nil, f.pass(p)
}

var fileBegin = []byte("begin ")

// pass writes text.
func (f *fileFinder) pass(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	f.bol = p[len(p)-1] == '\n'
	_, err := f.w.Write(p)
	return err
}

// inFile takes the next line of a file.
func (f *fileFinder) inFile(p []byte) ([]byte, error) {
	end := bytes.IndexByte(p, '\n') + 1
	if end == 0 {
		if len(p) < maxUULine {
			f.hold = bytes.Clone(p)
			return nil, nil
		}
		end = len(p)
		if f.begin == nil && !f.file.pieces() {
			return p, f.close() // no line of the file is that long
		}
	}
	return p[end:], f.lineOf(p[:end])
}

func (f *fileFinder) lineOf(line []byte) error {
	if f.begin != nil {
		begin := f.begin
		f.begin = nil
		f.bol = true
		switch {
		case isYEncBegin(begin):
			f.file = newYEncFile(begin)
		case isUULine(line):
			f.file = &uuFile{}
		default: // a line of text that starts with "begin"
			if err := f.pass(begin); err != nil {
				return err
			}
			_, err := f.text(line) // one line leaves no rest
			return err
		}
		if err := f.open(fileNameOf(begin)); err != nil {
			return err
		}
	}
	out, used, done := f.file.line(f.out[:0], line)
	f.out = out
	if err := f.p.write(f.child, f.to, out); err != nil {
		return err
	}
	if !done && used {
		return nil
	}
	if err := f.close(); err != nil || used {
		return err
	}
	_, err := f.text(line)
	return err
}

// open begins the virtual part of a file.
func (f *fileFinder) open(name string) error {
	child, err := f.p.virtual(f.part, f.depth)
	if err != nil {
		return err
	}
	child.Type, child.Disposition, child.Name = "application/octet-stream", "attachment", name
	child.checkName()
	f.child = child
	f.to, err = f.p.beginPart(child)
	if f.to == nil {
		f.to = io.Discard
	}
	return err
}

func (f *fileFinder) close() error {
	if code, detail := f.file.defect(); code != "" {
		f.child.defect(code, -1, detail)
	}
	child := f.child
	f.file, f.child, f.to, f.bol = nil, nil, nil, true
	return f.p.endPart(child)
}

// finish ends the text.
func (f *fileFinder) finish() error {
	hold := f.hold
	f.hold = nil
	if len(hold) > 0 {
		if f.file != nil || f.begin != nil {
			if err := f.lineOf(hold); err != nil {
				return err
			}
		} else if err := f.pass(hold); err != nil {
			return err
		}
	}
	if f.begin != nil {
		return f.pass(f.begin)
	}
	if f.hold != nil {
		return f.pass(f.hold)
	}
	if f.file != nil {
		return f.close()
	}
	return nil
}

// virtual adds a virtual part.
func (p *parser) virtual(parent *Part, depth int64) (*Part, error) {
	child := p.child(parent)
	child.Virtual, child.Offset, child.BodyOffset = true, -1, -1
	if p.parts++; p.parts > p.limits.Parts {
		return child, p.limit("Parts", p.limits.Parts, child)
	}
	if depth+1 > p.limits.Depth {
		return child, p.limit("Depth", p.limits.Depth, child)
	}
	return child, nil
}
