package dsn

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/maildriver/maildriver/mime"
)

const (
	// maxStatus bounds what is kept of a report part, in bytes, maxReports the
	// number of such parts: some reporters make one for each recipient.
	maxStatus, maxReports = 256 << 10, 4
	// maxText and maxTexts bound what is kept of each text part, and of how
	// many.
	maxText, maxTexts = 128 << 10, 4
	// maxOriginal and maxOriginals bound what is kept of the header of the
	// message that came back, and of how many such.
	maxOriginal, maxOriginals = 64 << 10, 4
	// maxProbe is how much text of a mail that does not look like a report by
	// its header is looked at.
	maxProbe = 2 << 10
)

// A Collector keeps, while [mime.Parse] reads a message, the little that
// [Collector.Result] needs: the report parts, the start of the text, and the
// header of the message that came back. It keeps some 2 MiB at most,
// whatever the message. The zero value is ready; it serves one message and one goroutine.
//
// A Collector is a [mime.Sink] by itself. A host with a sink of its own calls
// [Collector.Tap] in its Begin.
type Collector struct {
	parts                   []*kept
	texts, reports, headers int
}

// kept is the start of one part.
type kept struct {
	part *mime.Part
	buf  []byte
	max  int
	// header: buf is a message of which only the header counts.
	header bool
}

func (k *kept) Write(p []byte) (int, error) {
	k.buf = append(k.buf, p[:min(len(p), k.max-len(k.buf))]...)
	return len(p), nil
}

// Begin implements [mime.Sink].
func (c *Collector) Begin(p *mime.Part) (io.Writer, error) { return c.Tap(p, nil), nil }

// End implements [mime.Sink].
func (c *Collector) End(*mime.Part) error { return nil }

// Tap returns what Begin of another sink should return: w, or a writer that
// also feeds the collector. w is what that sink wants the part's content
// written to, nil to discard it or to descend.
func (c *Collector) Tap(p *mime.Part, w io.Writer) io.Writer {
	k := c.want(p, w != nil)
	switch {
	case k == nil:
		return w
	case w == nil:
		return k
	}
	return io.MultiWriter(w, k)
}

// want decides whether a part is kept; whole tells that a container is not
// descended into.
func (c *Collector) want(p *mime.Part, whole bool) *kept {
	inside := false
	for x := p.Parent; x != nil; x = x.Parent {
		inside = inside || x.IsMessage()
	}
	if inside || p.IsMultipart() {
		return nil // of the message that came back only the header counts, and Parse has that
	}
	k := &kept{part: p}
	switch {
	case p.IsMessage():
		if !whole || c.headers == maxOriginals {
			return nil
		}
		c.headers++
		k.max, k.header = maxOriginal, true
	case isStatus(p), isDisposition(p), isFeedback(p):
		if c.reports == maxReports {
			return nil
		}
		c.reports++
		k.max = maxStatus
	case p.Type == "text/rfc822-headers", p.Type == "text/rfc822", p.Type == "message/global-headers", p.Type == "message/rfc822-headers":
		if c.headers == maxOriginals {
			return nil
		}
		c.headers++
		k.max, k.header = maxOriginal, true
	case p.Type == "text/plain", p.Type == "text/html":
		if p.Disposition == "attachment" && p.Name != "" && p.Parent != nil || c.texts == maxTexts {
			return nil
		}
		c.texts++
		k.max = maxText
	default:
		return nil
	}
	c.parts = append(c.parts, k)
	return k
}

func isDisposition(p *mime.Part) bool {
	return p.Type == "message/disposition-notification" || p.Type == "message/global-disposition-notification"
}

func isFeedback(p *mime.Part) bool { return p.Type == "message/feedback-report" }

// find gives the content of the first part that is wanted.
func (c *Collector) find(want func(*mime.Part) bool) (*mime.Part, []byte) {
	for _, k := range c.parts {
		if want(k.part) {
			return k.part, k.buf
		}
	}
	return nil, nil
}

// statuses gives the content of all delivery status parts as one.
func (c *Collector) statuses() []byte {
	var all []byte
	for _, k := range c.parts {
		if isStatus(k.part) {
			all = append(append(all, k.buf...), "\n\n"...)
		}
	}
	return all
}

// text gives the text for reading: the plain text parts, or the HTML ones as
// text if there is no other.
func (c *Collector) text(limit int) string {
	var plain, html strings.Builder
	for _, k := range c.parts {
		switch {
		case k.header:
		case k.part.Type == "text/plain":
			plain.WriteString(decodeText(k, limit))
			plain.WriteByte('\n')
		case k.part.Type == "text/html":
			_ = mime.HTMLToText(strings.NewReader(decodeText(k, limit)), &html) // what it could not read it left out
			html.WriteByte('\n')
		}
	}
	if strings.TrimSpace(plain.String()) == "" || !strings.Contains(plain.String(), "@") {
		return plain.String() + html.String()
	}
	return plain.String()
}

func decodeText(k *kept, limit int) string {
	var b bytes.Buffer
	d := mime.NewTextDecoder(&b, k.part.Charset)
	_, _ = d.Write(k.buf[:min(len(k.buf), limit)]) // a Buffer takes all
	_ = d.Close()
	return b.String()
}

// original finds the header of the message that came back.
func (c *Collector) original(root *mime.Part) mime.Header {
	var found mime.Header
	for p := range root.All() {
		if p.IsMessage() && p != root && len(p.Children) == 1 && p.Children[0].Header.Len() > 0 {
			return p.Children[0].Header
		}
	}
	for _, k := range c.parts {
		if k.header && found.Len() == 0 {
			found = headerOf(k.buf)
		}
	}
	if found.Len() > 0 {
		return found
	}
	// Some systems return the message as text, the last of several parts.
	for i := len(c.parts) - 1; i > 0; i-- {
		k := c.parts[i]
		if k.part.Type == "text/plain" && k.part.Parent != nil {
			if h := headerOf(k.buf[:min(len(k.buf), maxOriginal)]); h.Has("Message-ID") || h.Has("Received") || h.Has("From") && h.Has("Date") {
				return h
			}
		}
	}
	return mime.Header{}
}

// headerOf reads a header up to its empty line.
func headerOf(b []byte) mime.Header {
	b = bytes.TrimLeft(b, "\r\n")
	for _, end := range []string{"\n\n", "\n\r\n", "\r\r"} {
		if i := bytes.Index(b, []byte(end)); i >= 0 {
			b = b[:i+1]
		}
	}
	return mime.ParseHeader(b)
}

// Result tells what the message is. root is the tree that Parse returned; the
// tree of a message that was read in part gives what there is. It is never nil.
func (c *Collector) Result(root *mime.Part) *Result {
	if root == nil {
		return &Result{}
	}
	r := &Result{Hints: HintsOf(root.Header)}
	a := &analysis{Collector: c, root: root, result: r}
	a.run()
	r.clean()
	return r
}

// clean bounds and cleans what came from the message.
func (r *Result) clean() {
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		o.Recipient, o.OriginalRecipient, o.RemoteMTA = oneLine(o.Recipient), oneLine(o.OriginalRecipient), oneLine(o.RemoteMTA)
	}
	r.Agent = cutText(oneLine(r.Agent), maxAddress)
}

// shortLine makes text for Outcome.Text.
func shortLine(s string) string {
	s = cutText(s, 4*MaxText) // blanks go
	return cutText(oneLine(strings.Join(strings.Fields(s), " ")), MaxText)
}

// cutText cuts at a whole character.
func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// Detect parses a whole message from r and tells what it is: the short way for
// a host that wants nothing else of it. The error is that of [mime.Parse].
func Detect(r io.Reader, opts ...mime.Option) (*Result, error) {
	var c Collector
	root, err := mime.Parse(r, &c, opts...)
	return c.Result(root), err
}
