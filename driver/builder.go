package driver

import (
	"io"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/dsn"
	"github.com/maildriver/maildriver/mime"
)

// outFile is a file being written; it has its final name only after Commit.
type outFile interface {
	io.Writer
	Commit() error
	Abort() error
	Name() string
}

// fileMaker makes the files of one event: new ones in the incoming directory,
// or, for a repeat, those that the first hand-over made.
type fileMaker interface {
	attachment() (outFile, error)
	originalText() (outFile, error)
	path(name string) string
	remove(name string)
}

// maxStatusBytes bounds the delivery-status part kept for DSNContent.
const maxStatusBytes = 256 << 10

// A builder turns the parts of a message, as mime.Parse streams them, into the
// files and bodies of an Event. It decides from what is known when a part
// begins: it never goes back.
type builder struct {
	set   *InboundSettings
	files fileMaker
	ev    *Event

	open     []*openPart // the parts being read, outermost first
	orig     outFile
	origSize int64
	embedded []*embeddedXML // the embedded messages being read, outermost first
	nEmbed   int
	status   *cappedBuffer
	all      []outFile // every file made, for abort
	text     *bodyWriter
	html     *bodyWriter
	textPart *mime.Part
	htmlPart *mime.Part
	report   dsn.Collector
}

// An openPart has what must be done when a part ends.
type openPart struct {
	part *mime.Part
	end  []func() error
}

func newBuilder(set *InboundSettings, files fileMaker, ev *Event) *builder {
	return &builder{set: set, files: files, ev: ev}
}

// Begin implements mime.Sink.
func (b *builder) Begin(p *mime.Part) (io.Writer, error) {
	w, err := b.begin(p)
	if err != nil {
		return nil, err
	}
	return b.report.Tap(p, w), nil
}

func (b *builder) begin(p *mime.Part) (io.Writer, error) {
	o := &openPart{part: p}
	b.open = append(b.open, o)
	if p.Parent == nil {
		if err := b.beginOriginal(p); err != nil {
			return nil, err
		}
	}
	if p.Parent != nil && p.Parent.IsMessage() && len(b.embedded) > 0 {
		b.embedded[len(b.embedded)-1].header(p.Header)
	}
	switch {
	case p.IsMessage():
		return b.beginEmbedded(o)
	case p.IsContainer(): // winmail.dat too: what it holds counts, not it
		return nil, nil
	}
	return b.beginLeaf(o)
}

// End implements mime.Sink.
func (b *builder) End(*mime.Part) error {
	o := b.open[len(b.open)-1]
	b.open = b.open[:len(b.open)-1]
	for _, f := range o.end {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) beginEmbedded(o *openPart) (io.Writer, error) {
	b.nEmbed++
	name := "EmbeddedMsg" + strconv.Itoa(b.nEmbed)
	if !b.set.ParseEmbedded {
		if !b.set.ReturnAttachments {
			return io.Discard, nil
		}
		return b.attach(o, embeddedFile(o.part, File{Name: name + ".eml", Type: "message", Subtype: "rfc822"}))
	}
	var w io.Writer = io.Discard
	if b.set.ReturnAttachments {
		var err error
		w, err = b.attach(o, embeddedFile(o.part, File{Name: name + ".xml", Type: "text", Subtype: "xml", Charset: "utf-8", Generated: true}))
		if err != nil {
			return nil, err
		}
	}
	x := newEmbeddedXML(w)
	b.embedded = append(b.embedded, x)
	o.end = append([]func() error{func() error {
		b.embedded = b.embedded[:len(b.embedded)-1]
		return x.close()
	}}, o.end...)
	return nil, nil // descend
}

// embeddedFile adds what the part says to the file that stands for it.
func embeddedFile(p *mime.Part, f File) File {
	f.Inline, f.Disposition, f.ContentID = p.Name == "", p.Disposition, p.ContentID
	return f
}

func (b *builder) beginLeaf(o *openPart) (io.Writer, error) {
	p := o.part
	plain := p.Type == "text/plain"
	if len(b.embedded) > 0 {
		if plain && p.Disposition != "attachment" && p.Name == "" {
			return b.decode(o, b.embedded[len(b.embedded)-1].text(p)), nil
		}
		return b.leafFile(o, p)
	}
	var out []io.Writer
	body := false
	switch {
	case plain && b.textPart != nil && ofTNEF(p) && !ofTNEF(b.textPart):
		return io.Discard, nil // the body once more, for Outlook
	case plain && b.isBody(p):
		b.text, b.textPart, body = newBodyWriter(b.set.MaxBodyBytes), p, true
		out = append(out, b.text)
	case p.Type == "text/html" && b.isBody(p):
		b.html, b.htmlPart, body = newBodyWriter(b.set.MaxBodyBytes), p, true
		b.html.spill = func() (io.Writer, error) { return b.leafFileText(o, p) }
		out = append(out, b.html)
	case p.Type == "message/delivery-status" || p.Type == "message/global-delivery-status":
		if b.status == nil {
			b.status = &cappedBuffer{max: maxStatusBytes}
			w, err := b.leafFile(o, p)
			if err != nil {
				return nil, err
			}
			return io.MultiWriter(b.status, w), nil
		}
	}
	if plain && (body || p.Disposition != "inline") {
		out = append(out, &originalSection{b: b})
	}
	if body {
		return b.decode(o, io.MultiWriter(out...)), nil
	}
	w, err := b.leafFile(o, p)
	if err != nil || len(out) == 0 {
		return w, err
	}
	return io.MultiWriter(w, b.decode(o, out[0])), nil
}

// isBody decides whether a text part is the body: the first of its kind, not
// offered as a file, and the HTML one alone or as an alternative to the plain.
func (b *builder) isBody(p *mime.Part) bool {
	if p.Name != "" || p.Disposition == "attachment" || p.Virtual && !ofTNEF(p) {
		return false
	}
	mine, other := b.textPart, b.htmlPart
	if p.Type == "text/html" {
		mine, other = other, mine
	}
	return mine == nil && (other == nil || sameAlternative(p, other))
}

// ofTNEF reports whether a part was found in the mail's own winmail.dat, not in
// a message attached inside of it.
func ofTNEF(p *mime.Part) bool {
	return p.Virtual && p.Parent != nil && p.Parent.IsTNEF() && !p.Parent.Virtual
}

// sameAlternative reports whether some multipart/alternative holds both parts.
// What TNEF holds is an alternative to whatever stands beside it.
func sameAlternative(a, b *mime.Part) bool {
	if ofTNEF(a) || ofTNEF(b) {
		return true
	}
	for x := a.Parent; x != nil; x = x.Parent {
		if x.Type != "multipart/alternative" {
			continue
		}
		for y := b.Parent; y != nil; y = y.Parent {
			if y == x {
				return true
			}
		}
	}
	return false
}

// leafFile gives a part that is no body its own file.
func (b *builder) leafFile(o *openPart, p *mime.Part) (io.Writer, error) {
	if !b.set.ReturnAttachments {
		return io.Discard, nil
	}
	f := b.describe(p)
	return b.attach(o, f)
}

// leafFileText gives an HTML body that is too long for the event a file, in
// UTF-8 as it was decoded already.
func (b *builder) leafFileText(o *openPart, p *mime.Part) (io.Writer, error) {
	f := b.describe(p)
	f.Charset, f.Generated, f.whole = "utf-8", true, true
	return b.attach(o, f)
}

func (b *builder) describe(p *mime.Part) File {
	typ, sub, _ := strings.Cut(p.Type, "/")
	f := File{
		Name: p.Name, Type: typ, Subtype: sub, Charset: p.Charset, Inline: p.Name == "",
		Disposition: p.Disposition, ContentID: p.ContentID,
		Generated: p.Name == "" && isFragment(p.Type) && p.Disposition != "attachment",
	}
	if f.Name == "" {
		f.Name = mime.SynthesizedName(p)
	}
	return f
}

// isFragment tells which nameless parts are pieces of the body rather than
// files of the sender's; an invitation (text/calendar) is a file.
func isFragment(typ string) bool {
	switch typ {
	case "text/plain", "text/html", "text/enriched", "text/richtext", "text/x-amp-html", "text/watch-html":
		return true
	}
	return false
}

// attach opens an ATT file for the part and lists it when the part ends.
func (b *builder) attach(o *openPart, f File) (io.Writer, error) {
	out, err := b.files.attachment()
	if err != nil {
		return nil, err
	}
	b.all = append(b.all, out)
	f.Part = o.part.Path
	i := len(b.ev.Files)
	b.ev.Files = append(b.ev.Files, f)
	count := &countingWriter{w: out}
	o.end = append(o.end, func() error {
		if err := out.Commit(); err != nil {
			return err
		}
		if f := &b.ev.Files[i]; o.part.Virtual { // TNEF tells the name last
			late := b.describe(o.part)
			f.Name, f.Type, f.Subtype, f.ContentID, f.Inline = late.Name, late.Type, late.Subtype, late.ContentID, late.Inline
		}
		b.ev.Files[i].Path, b.ev.Files[i].Size = b.files.path(out.Name()), count.n
		return nil
	})
	return count, nil
}

// decode returns a writer that turns the part's charset into UTF-8, and joins
// the lines of flowed text.
func (b *builder) decode(o *openPart, w io.Writer) io.Writer {
	var joiner *mime.FlowedDecoder
	if flowed, delSp := o.part.IsFlowed(); flowed {
		joiner = mime.NewFlowedDecoder(w, delSp)
		w = joiner
	}
	d := mime.NewTextDecoder(w, o.part.Charset)
	o.end = append([]func() error{func() error {
		err := d.Close()
		if joiner != nil && err == nil {
			err = joiner.Close()
		}
		for _, def := range d.Defects() {
			def.Path = o.part.Path
			o.part.Defects = append(o.part.Defects, def)
		}
		return err
	}}, o.end...)
	return d
}

// finish completes the event once mime.Parse is done.
func (b *builder) finish(root *mime.Part) error {
	ev := b.ev
	ev.Message = root
	ev.Prefix = b.set.SubjectPrefixes.Prefix(ev.Subject)
	for p := range root.All() {
		ev.Defects = append(ev.Defects, p.Defects...)
	}
	if b.text != nil {
		ev.Text, ev.TextTruncated, ev.TextCharset = b.text.String(), b.text.over, charsetOf(b.textPart)
	}
	if b.html != nil {
		ev.HTML, ev.HTMLTruncated, ev.HTMLCharset = b.html.String(), b.html.over, charsetOf(b.htmlPart)
	}
	if b.set.ConvertToPlain && b.html != nil {
		if b.text != nil { // the event has nothing of the HTML
			for i := range ev.Files {
				ev.Files[i].whole = false
			}
		} else {
			var plain strings.Builder
			if err := mime.HTMLToText(strings.NewReader(ev.HTML), &plain); err != nil {
				return err
			}
			ev.Text, ev.TextTruncated, ev.TextCharset = plain.String(), ev.HTMLTruncated, ev.HTMLCharset
		}
		ev.HTML, ev.HTMLCharset, ev.HTMLTruncated = "", "", false
	}
	if dsn.IsReport(root) {
		var status []byte
		if b.status != nil {
			status = b.status.buf
		}
		ev.DSNContent = strings.ToValidUTF8(string(status), "\uFFFD")
		ev.DSN = dsn.Parse(status)
	}
	ev.Report = b.report.Result(root)
	return b.finishOriginal()
}

// charsetOf gives the declared charset of a body; RFC 2045 5.2 says what holds
// without one.
func charsetOf(p *mime.Part) string {
	if p.Charset == "" {
		return "us-ascii"
	}
	return p.Charset
}

// abort removes every file made so far.
func (b *builder) abort() {
	for _, f := range b.all {
		_ = f.Abort()
		b.files.remove(f.Name())
	}
}

// names lists the files made, in their order.
func (b *builder) names() []string {
	names := make([]string, 0, len(b.all))
	for _, f := range b.all {
		names = append(names, f.Name())
	}
	return names
}
