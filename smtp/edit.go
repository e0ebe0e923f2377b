package smtp

import (
	"context"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
)

// An edit replaces the octets from from to to of a message: by text, or by
// themselves in an encoding.
type edit struct {
	from, to int64
	text     string
	encoding string // "", "base64", "quoted-printable"
}

// reencode writes the message with the edits to w, or only measures it if w is
// nil.
func reencode(ctx context.Context, c *content, edits []edit, w io.Writer) (*content, error) {
	emit := func(ctx context.Context, w io.Writer) (facts, error) {
		out := &canonicalizer{w: w}
		e := &editor{w: out, edits: edits}
		err := c.emit(ctx, e)
		if err == nil {
			err = e.Close()
		}
		if err == nil {
			err = out.Close()
		}
		return out.facts, err
	}
	if w == nil {
		w = io.Discard
	}
	got, err := emit(ctx, w)
	if err != nil {
		return nil, err
	}
	got.utf8Header = c.utf8Header
	return &content{facts: got, emit: func(ctx context.Context, w io.Writer) error {
		_, err := emit(ctx, w)
		return err
	}}, nil
}

// An editor applies edits, which are sorted and apart, to what is written.
type editor struct {
	w     io.Writer
	edits []edit
	at    int64
	begun bool
	open  io.WriteCloser // the encoder of the edit at hand
}

func (e *editor) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n, to := len(p), e.w
		if len(e.edits) > 0 {
			d := &e.edits[0]
			switch {
			case e.at < d.from:
				n = int(min(int64(n), d.from-e.at))
			case !e.begun:
				if err := e.begin(); err != nil {
					return 0, err
				}
				continue
			case e.at == d.to:
				if err := e.finish(); err != nil {
					return 0, err
				}
				continue
			default:
				n, to = int(min(int64(n), d.to-e.at)), io.Discard
				if e.open != nil {
					to = e.open
				}
			}
		}
		if _, err := to.Write(p[:n]); err != nil {
			return 0, err
		}
		e.at += int64(n)
		p = p[n:]
	}
	return total, nil
}

func (e *editor) begin() error {
	d := &e.edits[0]
	e.begun = true
	switch d.encoding {
	case "quoted-printable":
		e.open = quotedprintable.NewWriter(e.w)
	case "base64":
		e.open = newBase64(e.w)
	}
	_, err := io.WriteString(e.w, d.text)
	return err
}

func (e *editor) finish() (err error) {
	if e.open != nil {
		err = e.open.Close()
	}
	e.open, e.begun, e.edits = nil, false, e.edits[1:]
	return err
}

// Close does what is to be done at the end of the message.
func (e *editor) Close() error {
	for len(e.edits) > 0 && e.at >= e.edits[0].from {
		if !e.begun {
			if err := e.begin(); err != nil {
				return err
			}
		}
		if err := e.finish(); err != nil {
			return err
		}
	}
	return nil
}

// newBase64 encodes in lines of 76 characters (RFC 2045 section 6.8), the last
// without a line end.
func newBase64(w io.Writer) io.WriteCloser {
	return base64.NewEncoder(base64.StdEncoding, &lines{w: w})
}

type lines struct {
	w  io.Writer
	at int
}

func (l *lines) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if l.at == 76 {
			if _, err := l.w.Write(crlf); err != nil {
				return 0, err
			}
			l.at = 0
		}
		n := min(len(p), 76-l.at)
		if _, err := l.w.Write(p[:n]); err != nil {
			return 0, err
		}
		l.at += n
		p = p[n:]
	}
	return total, nil
}
