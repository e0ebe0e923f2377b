package smtp

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
)

// LongBodySize is the size in bytes of a body beyond which [WithLongBody] makes
// a file of it.
const LongBodySize = 16 << 10

// maxGrowth is how many times its size a text can have in UTF-8: an octet of a
// charset, or one that means nothing in it, becomes three.
const maxGrowth = 3

const longBodyName = "SiebelLongEmailBody"

// longBody writes the body of an accepted message to its file, if the host
// wants one. The outcome of the send stands whatever befalls it.
func (s *sending) longBody(ctx context.Context, d driver.Delivery) string {
	if s.set.bodyDir == "" || d != driver.DeliveryAccepted && d != driver.DeliveryPartly {
		return ""
	}
	path, err := writeBody(ctx, s.source.whole.content, s.set.bodyDir, s.set.bodyAlways)
	if err != nil {
		s.common.Logger.Error("the body of a sent message could not be written down", "driver", driverName, "profile", s.common.Profile, "message_id", s.message.MessageID, "error", err.Error())
		return ""
	}
	return path
}

// writeBody makes dir/mail-.../SiebelLongEmailBody.htm, or .txt for a message
// without HTML, in UTF-8. Both are for their owner alone.
func writeBody(ctx context.Context, c *content, dir string, always bool) (path string, err error) {
	if !always && c.size*maxGrowth <= LongBodySize {
		return "", nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	own, err := os.MkdirTemp(dir, "mail-")
	if err != nil {
		return "", err
	}
	sink := &bodySink{dir: own}
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(c.emit(ctx, w))
	}()
	_, err = mime.Parse(r, sink)
	_ = r.CloseWithError(errEnough)
	<-done
	path, size := sink.finish()
	if err != nil || path == "" || !always && size <= LongBodySize {
		_ = os.RemoveAll(own)
		return "", err
	}
	return path, nil
}

// A bodySink writes the first HTML body and the first text body of a message to
// files.
type bodySink struct {
	dir        string
	html, text *bodyFile
}

type bodyFile struct {
	part *mime.Part
	f    *os.File
	w    *mime.TextDecoder
	size int64
}

func (b *bodySink) Begin(p *mime.Part) (io.Writer, error) {
	if p.Disposition == "attachment" || p.Name != "" {
		return nil, nil
	}
	to, ext := &b.text, ".txt"
	switch p.Type {
	case "text/plain":
	case "text/html":
		to, ext = &b.html, ".htm"
	default:
		return nil, nil
	}
	if *to != nil || inMessage(p) {
		return nil, nil
	}
	f, err := os.OpenFile(filepath.Join(b.dir, longBodyName+ext), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	file := &bodyFile{part: p, f: f}
	file.w = mime.NewTextDecoder(file, p.Charset)
	*to = file
	return file.w, nil
}

// inMessage reports whether p belongs to a message within the message.
func inMessage(p *mime.Part) bool {
	for p = p.Parent; p != nil; p = p.Parent {
		if p.IsMessage() {
			return true
		}
	}
	return false
}

// Write takes the text in UTF-8.
func (f *bodyFile) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	f.size += int64(n)
	return n, err
}

func (b *bodySink) End(p *mime.Part) error {
	for _, f := range []*bodyFile{b.html, b.text} {
		if f != nil && f.part == p {
			return f.w.Close()
		}
	}
	return nil
}

// finish keeps the HTML body, or else the text, and gives its path and size.
func (b *bodySink) finish() (path string, size int64) {
	for _, f := range []*bodyFile{b.html, b.text} {
		if f == nil {
			continue
		}
		name := f.f.Name()
		if err := f.f.Close(); err != nil || path != "" {
			_ = os.Remove(name)
			continue
		}
		path, size = name, f.size
	}
	return path, size
}
